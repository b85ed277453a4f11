"""`sonde-agent check …` at a vantage of the lab, as a person runs it, and what its `--json` says."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.programs import BIN

from sonde_lab.lab import Lab

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
"""Runs what follows without any privilege."""


@dataclass(frozen=True)
class Checked:
    """How one check ended.

    Attributes:
        code: its exit code.
        rows: the measured values of each result, by their names in results.proto.
        said: standard error.
    """

    code: int
    rows: list[dict[str, Any]]
    said: str

    @property
    def row(self) -> dict[str, Any]:
        """The first result."""
        assert self.rows, self.said
        return self.rows[0]


def account(folder: Path, name: str = "lab") -> list[str]:
    """Gives the options for an account whose two files are in `folder`."""
    return [f"--{part}-file={folder / name}.{part}" for part in ("username", "password")]


def check(
    lab: Lab, vantage: str, *words: str | Path, user: Sequence[str] = (), within_s: float = 60
) -> Checked:
    """Runs `sonde-agent check WORDS --json`, as root or through the command `user`."""
    done = lab.run(vantage, [*user, BIN / "sonde-agent", "check", *words, "--json"], within_s)
    told = json.loads(done.stdout) if done.stdout.strip() else []
    rows = [one.get("endpoint") or one["performance"] for one in told]
    return Checked(done.returncode, rows, done.stderr)
