"""Backups, restores, and how long the disk lasts."""
