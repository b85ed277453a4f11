"""How the commands print: text for people, JSON for programs. Nothing else here writes to standard output."""

import json
import sys
from typing import Any


def say(text: str) -> None:
    """Print one line or several, and the newline after them."""
    sys.stdout.write(text + "\n")


def say_json(value: Any) -> None:
    """Print one JSON document."""
    say(json.dumps(value, indent=2))
