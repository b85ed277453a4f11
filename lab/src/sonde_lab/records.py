"""How long a delay line truly held each packet: its record file, written by the line, read by whoever asks.

The file is `struct head` and `struct record` of delay_line.c, little-endian.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"SONDELIN"
HEAD_BYTES = 4096
CAPACITY = 1 << 17
"""Records a line keeps; the oldest are overwritten. 13 s at 10 000 packets/s, hours of pings."""
PATHS = 16
RECORD = struct.Struct("<QIHBB")
TOTAL = struct.Struct("<QQQ")
FIRST_TOTAL = 24
WRITTEN_AT = 16


@dataclass(frozen=True, slots=True)
class Record:
    """One packet that passed.

    Attributes:
        at_s: when it came in [s, UTC].
        delay_ms: until it was let out.
        size: [bytes].
        down: True from the place to the core, False from the core to the place.
        path: index of the vantage.
    """

    at_s: float
    delay_ms: float
    size: int
    down: bool
    path: int


@dataclass(frozen=True, slots=True)
class Total:
    """What passed in one direction of one path since the lab came up.

    Attributes:
        passed: packets.
        size: their bytes.
        dropped: packets that found the line full or its end down.
    """

    passed: int
    size: int
    dropped: int


def totals(file: Path) -> dict[tuple[int, bool], Total]:
    """Give the totals by path and direction (True = down)."""
    with file.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    return {
        (path, down): Total(*TOTAL.unpack_from(head, FIRST_TOTAL + TOTAL.size * (PATHS * down + path)))
        for path in range(PATHS)
        for down in (False, True)
    }


def read(file: Path, since_s: float = 0.0) -> Iterator[Record]:
    """Give the packets that came in at or after `since_s` [s, UTC] and are still kept, newest first."""
    data = file.read_bytes()
    capacity, written = struct.unpack_from("<QQ", data, 8)
    for number in range(written - 1, max(written - capacity, 0) - 1, -1):
        at_ns, delay_ns, size, down, path = RECORD.unpack_from(
            data, HEAD_BYTES + number % capacity * RECORD.size
        )
        if at_ns < since_s * 1e9 - 1e9:
            return  # in the order in which they were let out, which is at most a delay away from this one
        if at_ns >= since_s * 1e9:
            yield Record(at_ns / 1e9, delay_ns / 1e6, size, bool(down), path)


def quantile(ordered: list[float], share: float) -> float | None:
    """Give the value at `share` (0..1) of a sorted list, the nearer one; None when it is empty. **Pure.**"""
    return ordered[round(share * (len(ordered) - 1))] if ordered else None
