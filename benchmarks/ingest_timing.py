"""Who used the CPU while rows were written."""

import os
import time
from pathlib import Path

from attrs import frozen

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@frozen
class Timing:
    """One timed delivery.

    Attributes:
        rows: written. seconds: it took.
        server: CPU seconds of all of PostgreSQL's processes.
        collector: of the collector. client: of this process, which is the load generator or drives COPY.
    """

    rows: int
    seconds: float
    server: float
    collector: float
    client: float

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / self.seconds

    @property
    def each(self) -> tuple[float, float, float, float]:
        """Microseconds of a row: PostgreSQL, collector, client, and what all cores had in that time."""
        cores = self.seconds * (os.cpu_count() or 1)
        server, collector, client, all_cores = (
            each / self.rows * 1e6 for each in (self.server, self.collector, self.client, cores)
        )
        return server, collector, client, all_cores


class Meter:
    """Reads the CPU time of the processes that matter, from /proc.

    Args:
        postmaster: its pid. collector: its pid, None where none runs.
    """

    def __init__(self, postmaster: int, collector: int | None = None) -> None:
        self._postmaster = postmaster
        self._collector = collector
        self._before = (0.0, 0.0, 0.0, 0.0)

    def start(self) -> None:
        """Begins."""
        self._before = self._read()

    def stop(self, rows: int) -> Timing:
        """Ends, `rows` having been written."""
        spent = (after - before for after, before in zip(self._read(), self._before, strict=True))
        return Timing(rows, *spent)

    def _read(self) -> tuple[float, float, float, float]:
        server = sum(_cpu(stat, ended=pid == self._postmaster) for pid, stat in _family(self._postmaster))
        ours = _cpu(_stat(self._collector)) if self._collector else 0.0
        return time.perf_counter(), server, ours, time.process_time()


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu(stat: list[str], *, ended: bool = False) -> float:
    """CPU seconds of a process so far; with those of its children that ended, if asked."""
    return sum(map(int, stat[11 : 15 if ended else 13])) * _TICK_S


def _family(parent: int) -> list[tuple[int, list[str]]]:
    found = [(parent, _stat(parent))]
    for path in Path("/proc").glob("[0-9]*"):
        try:
            stat = _stat(int(path.name))
        except OSError:
            continue  # it ended meanwhile
        if int(stat[1]) == parent:
            found.append((int(path.name), stat))
    return found
