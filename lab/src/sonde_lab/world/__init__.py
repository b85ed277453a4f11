"""The world server: it plays streaming platforms by the country of whoever calls."""

CHANGES = "changes.json"
"""In its folder: what is other than the map says, while it runs."""
KNOWN = "known.json"
"""In its folder: what it can play, what it plays where, and what a rule has to make of it."""
REQUESTS, UNMATCHED = "world-requests.log", "world-unmatched.log"
"""Beside the logs of the programs."""
