"""Generated protobuf code, version 1 of the wire. Made by proto/gen.py; never edited."""
