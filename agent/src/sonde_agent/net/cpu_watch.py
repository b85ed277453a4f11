"""Whether the processor was the limit of what a thread did: its own, a tunnel's, or all of the host's."""

import os
import time
from pathlib import Path

_BUSY = 0.9
"""A thread or process above this share of one core had no more to give: scheduling takes the rest."""

_IDLE = 0.05
"""A host with less of its processors idle was full: network interrupts and other programs count here."""

_TUNNELS = frozenset((b"openvpn", b"wireguard-go", b"charon-systemd"))
_TICKS_S = 1 / os.sysconf("SC_CLK_TCK")
_STAT = Path("/proc/stat")


class CpuWatch:
    """Watches from its making until `limited`, both in the thread that is judged.

    A program that carries a tunnel is judged where this process sees it, as it does inside a tunnel's box.
    """

    def __init__(self) -> None:
        self._wall, self._thread = time.monotonic(), time.thread_time()
        self._host, self._tunnels = _host(), _tunnels()

    def limited(self) -> bool:
        """Whether this thread, a tunnel's process or the whole host was busy nearly all the time."""
        wall_s = time.monotonic() - self._wall
        if wall_s <= 0:
            return False
        busy_s = [time.thread_time() - self._thread]
        busy_s += [used - self._tunnels.get(pid, used) for pid, used in _tunnels().items()]
        idle, total = (now - then for now, then in zip(_host(), self._host, strict=True))
        return max(busy_s) > _BUSY * wall_s or (total > 0 and idle < _IDLE * total)


def _host() -> tuple[float, float]:
    """Idle and all time of all processors so far [ticks]."""
    fields = [float(field) for field in _STAT.read_bytes().split(b"\n", 1)[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)


def _tunnels() -> dict[str, float]:
    """Processor time so far of every process that carries a tunnel [s]."""
    found = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            text = Path(entry.path, "stat").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        name = text[text.find(b"(") + 1 : text.rfind(b")")]
        if name in _TUNNELS:
            fields = text[text.rfind(b")") + 2 :].split()
            found[entry.name] = (int(fields[11]) + int(fields[12])) * _TICKS_S
    return found
