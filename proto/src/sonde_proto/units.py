"""Durations and sizes as people write them in a configuration file.

A duration is a number and a unit without a space, or several of them from large to small: "250ms", "10s",
"1m30s", "14d". A size is a number and a unit: "512MB" is 512 x 10^6 bytes, "1GiB" is 2^30 bytes. A bare
number is refused: a reader of the file could not tell seconds from milliseconds.
"""

import re
from typing import NewType

Duration = NewType("Duration", float)
"""Seconds, >= 0."""

Size = NewType("Size", int)
"""Bytes, >= 0."""

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
BYTES = {
    "B": 1,
    **{f"{prefix}B": 1000**power for power, prefix in enumerate(("k", "M", "G", "T"), 1)},
    **{f"{prefix}iB": 1024**power for power, prefix in enumerate(("K", "M", "G", "T"), 1)},
}

_LONGEST_S = 36_500 * 86_400.0
_LARGEST = 10**18

_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]+)")
_ORDER = ("d", "h", "m", "s", "ms")


def parse_duration(text: str) -> Duration:
    """Give the seconds that `text` means. Pure.

    Raises:
        ValueError: `text` is no duration; the message says how to write one.
    """
    seconds, end, last = 0.0, 0, -1
    for part in _DURATION_PART.finditer(text):
        rank = _ORDER.index(part[2])
        if part.start() != end or rank <= last:
            break
        seconds += float(part[1]) * SECONDS[part[2]]
        end, last = part.end(), rank
    if end != len(text) or not text or seconds > _LONGEST_S:
        raise ValueError(
            f'must be a duration such as "250ms", "10s", "5m", "48h" or "14d", not {_quoted(text)}'
        )
    return Duration(seconds)


def parse_size(text: str) -> Size:
    """Give the bytes that `text` means. Pure.

    Raises:
        ValueError: `text` is no size; the message says how to write one.
    """
    match = _SIZE.fullmatch(text)
    if match is None or match[2] not in BYTES or float(match[1]) * BYTES[match[2]] > _LARGEST:
        raise ValueError(f'must be a size such as "512MB" or "1GiB", not {_quoted(text)}')
    return Size(round(float(match[1]) * BYTES[match[2]]))


def format_duration(seconds: float) -> str:
    """Give `seconds` as `parse_duration` reads it, exact to the millisecond. Pure."""
    left = round(seconds * 1000)
    parts = []
    for unit in _ORDER:
        count, left = divmod(left, round(SECONDS[unit] * 1000))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def format_size(count: int) -> str:
    """Give `count` bytes for a person: three digits and a decimal unit. Pure."""
    size, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":  # noqa: PLR2004 -- three digits
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.3g} {unit}"  # noqa: PLR2004


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"'
