"""Tunnels: each in a namespace of its own, made by a small privileged helper, gone with its request."""
