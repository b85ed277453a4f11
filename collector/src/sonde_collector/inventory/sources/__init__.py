"""Servers as providers list them: folders of profiles, CSV tables, gluetun's lists."""
