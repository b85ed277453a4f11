"""Unlock checks: what a rule makes of an exit, asked as a browser asks."""
