"""`sonde-agent check unlock` at a vantage of the lab, beside what is true there."""

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.lab_checks import account
from support.programs import BIN
from support.residue import descendants

from sonde_lab.lab import Lab
from sonde_lab.world import packed
from sonde_lab.world.atlas import Changes

SAID = ("verdict", "scope", "region", "via")


@dataclass(frozen=True)
class Unlocked:
    """How one run ended.

    Attributes:
        rows: slug → its result.
        seconds: it took.
        peak_mb: command line of each process → the most memory that it ever had [MB].
    """

    rows: Mapping[str, Mapping[str, Any]]
    seconds: float
    peak_mb: Mapping[str, float]

    @property
    def said(self) -> dict[str, tuple[str, ...]]:
        """Slug → verdict, scope, region, via."""
        return {slug: tuple(row.get(part, "") for part in SAID) for slug, row in self.rows.items()}


class Asker:
    """A person at a vantage, with a pack of rules and the world's authority.

    Args:
        lab: up.
        folder: for the pack.
    """

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self._pack = folder / "unlock.pack"
        self._key = packed.write(self._pack, enabled=False)
        self._world = lab.truth(time.time())["origin"]["world"]

    def ask(
        self, vantage: str, *slugs: str, profile: str | Path = "", family: int = 4, within_s: float = 120
    ) -> Unlocked:
        """Run `check unlock`.

        Args:
            vantage: from where.
            slugs: of the rules; none = --all.
            profile: of the tunnel; "" = directly.
            family: 4 or 6.
            within_s: it must end.
        """
        words: list[str | Path] = [BIN / "sonde-agent", "check", "unlock", *(slugs or ("--all",)), "--json"]
        words += ["--family", str(family), "--pack", self._pack, "--rule-key", self._key]
        words += ["--ca-file", self.lab.folder / self._world["ca"]]
        for name in ("trusted_resolver", "trusted_resolver_name"):
            words += [f"--{name.replace('_', '-')}", self._world[name]]
        if profile:
            words += ["--through", self.lab.folder / profile, *account(self.lab.folder / "secrets")]
        began = time.monotonic()
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
            peaks = _run(self.lab.popen(vantage, words, stdout=out, stderr=said), within_s)
            took = time.monotonic() - began
            for file in (out, said):
                file.seek(0)
            text = out.read()
            assert text, said.read().decode()
        rows = [one["unlock"] for one in json.loads(text) if "unlock" in one]
        return Unlocked({row["platform"]: row for row in rows}, took, peaks)

    def truth(self, key: str, family: int, slugs: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Give what is true of a server, of those who have smart DNS, or of a vantage."""
        true = self.lab.truth(time.time())["unlock"][key][str(family)]
        return {slug: tuple(true[slug][part] for part in SAID) for slug in slugs}

    def unmatched(self) -> str:
        """Give what no cassette answered so far."""
        return (self.lab.folder / self._world["unmatched"]).read_text()

    def requests(self) -> list[dict[str, Any]]:
        """Give all that the world was asked so far."""
        text = (self.lab.folder / self._world["requests"]).read_text()
        return [json.loads(line) for line in text.splitlines()]

    @contextmanager
    def changed(self, changes: Changes) -> Iterator[None]:
        """Let the world be another one for a while."""
        self.lab.change_world(changes)
        try:
            yield
        finally:
            self.lab.change_world(Changes())


def _run(running: subprocess.Popen[bytes], within_s: float) -> dict[str, float]:
    """Wait for the end; give what each process below it needed at most."""
    peaks: dict[str, float] = {}
    deadline = time.monotonic() + within_s
    while running.poll() is None:
        assert time.monotonic() < deadline, f"it took more than {within_s} s"
        for pid, words in descendants(running.pid).items():
            line = " ".join(words)
            peaks[line] = max(peaks.get(line, 0.0), _peak_mb(pid))
        time.sleep(0.02)
    return peaks


def _peak_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    said = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(said[1]) / 1024 if said else 0.0
