"""Unlock rules and their cassettes: data. `sonde_unlock` reads them; this package says where they are."""

from pathlib import Path

RULES = Path(__file__).with_name("platforms")
"""SLUG.yaml, one a platform."""
CASSETTES = Path(__file__).with_name("cassettes")
"""SLUG.yaml, what each platform answers, by behaviour."""
