"""Verdicts of single results, packed: what ingestion tells health, and health remembers. **Pure.**"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sonde_proto.v1 import results_pb2

VERDICT = np.dtype(
    [
        ("object", "<i4"),  # servers.id or sonde.targets.id
        ("probe", "<i2"),
        ("series", "<i4"),  # which protocol or address, see below
        ("at_us", "<i8"),
        ("ok", "i1"),
        ("failure", "i1"),  # results_pb2.Failure
        ("status", "<i2"),  # of HTTP; 0 = none
        ("ms", "<f4"),  # handshake or whole answer; NaN = not measured
    ]
)
"""One result's verdict: 26 bytes. Same object, vantage, series and time are the same result."""

Verdicts = NDArray[Any]
_FAMILY = 7
_KEYS = ("object", "probe", "series", "at_us")


def server_series(protocol: Any, family: Any) -> Any:
    """Give the series of a server's results: protocol id (0 = pinged directly) and family (0 = not told)."""
    return protocol << 3 | family & _FAMILY


def target_series(address_crc: Any, family: Any) -> Any:
    """Give the series of a target's results: a checksum of the address that was asked, and its family."""
    return address_crc & 0x7FFF_FFF8 | family & _FAMILY


def family_of(series: Any) -> Any:
    """Give 4, 6 or 0 = not told."""
    return series & _FAMILY


def protocol_of(series: int) -> int:
    """Give the protocol id of a server's series."""
    return series >> 3


def refusals(rows: Iterable[tuple[int, int, int | None, int | None, int]]) -> Verdicts:
    """Give the verdicts of servers that refused an account which is in order.

    Args:
        rows: server, vantage, protocol, family, time [us since 1970].
    """
    listed = [
        (server, probe, server_series(protocol or 0, family or 0), at, 0, results_pb2.FAILURE_AUTH, 0, np.nan)
        for server, probe, protocol, family, at in rows
    ]
    return np.array(listed, VERDICT)


def pack(verdicts: Verdicts) -> bytes:
    """Give the bytes that are kept."""
    return verdicts.tobytes()


def unpack(parts: Iterable[bytes]) -> Verdicts:
    """Give the verdicts of any number of packed pieces, one after another."""
    return np.frombuffer(b"".join(parts), VERDICT)


def fold(known: Verdicts, new: Verdicts, keep: Callable[[int], int]) -> Verdicts:
    """Give the newest verdicts of each series, sorted by object, vantage, series and time.

    The order in which they came, and how often, does not matter: the result is that of the set of them.

    Args:
        known: what was folded before.
        new: what came.
        keep: object id → how many of each of its series.
    """
    whole = np.concatenate((known, new))
    if not len(whole):
        return whole
    whole = whole[np.lexsort([whole[name] for name in reversed(_KEYS)])]
    same = np.ones(len(whole) - 1, np.bool_)
    for name in _KEYS:
        same &= whole[name][1:] == whole[name][:-1]
    whole = whole[np.concatenate(([True], ~same))]
    ends = np.flatnonzero(_last_of_series(whole))
    counts = np.diff(np.concatenate(([-1], ends)))
    from_end = np.repeat(ends, counts) - np.arange(len(whole))
    distinct, inverse = np.unique(whole["object"], return_inverse=True)
    most = np.array([keep(int(one)) for one in distinct], np.int64)[inverse]
    return whole[from_end < most]


def _last_of_series(whole: Verdicts) -> NDArray[np.bool_]:
    changes = np.zeros(len(whole), np.bool_)
    changes[-1] = True
    for name in ("object", "probe", "series"):
        changes[:-1] |= whole[name][1:] != whole[name][:-1]
    return changes
