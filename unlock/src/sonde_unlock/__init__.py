"""Unlock rules: what they are, and what they make of answers. No socket and no clock."""
