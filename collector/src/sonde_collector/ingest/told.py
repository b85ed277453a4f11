"""What a write tells health: a packed verdict of each row that says whether a thing works. **Pure.**"""

from collections.abc import Sequence
from typing import Any
from zlib import crc32

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from sonde_collector.health.entries import VERDICT, Verdicts, server_series, target_series
from sonde_collector.ingest.merge import Rows
from sonde_collector.ingest.tables import Resolved
from sonde_proto.quality import Quality
from sonde_proto.v1 import results_pb2

_OBJECTS = {"performance": "server", "endpoint": "target"}
_DOUBTFUL = Quality.NOT_READY | Quality.CLOCK_STEPPED
_OURS = (
    results_pb2.FAILURE_LOCAL,
    results_pb2.FAILURE_UNSUPPORTED,
    results_pb2.FAILURE_POLICY,
    results_pb2.FAILURE_INTERNAL,
    results_pb2.FAILURE_PROFILE,
    results_pb2.FAILURE_PERMISSION,
)
_LAST_STATUS = 999


@frozen
class Told:
    """Verdicts of one write.

    Attributes:
        verdicts: packed, by object.
        labels: series of a target → its address.
    """

    verdicts: dict[str, bytes] = field(factory=dict)
    labels: dict[str, str] = field(factory=dict)

    def add(self, table: str, rows: Rows, resolved: Resolved, strings: Sequence[str]) -> None:
        """Adds rows that were copied into a table (`tables.TABLES`).

        Args:
            table: where to.
            rows: what.
            resolved: their ids.
            strings: of the write.
        """
        kind = _OBJECTS.get(table)
        if kind is None:
            return
        verdicts = _verdicts(table, rows, resolved)
        if table == "endpoint":
            self._address(verdicts, rows, strings)
        chosen = _counts(verdicts, rows)
        if chosen.any():
            self.verdicts[kind] = self.verdicts.get(kind, b"") + verdicts[chosen].tobytes()

    def _address(self, verdicts: Verdicts, rows: Rows, strings: Sequence[str]) -> None:
        """Gives each verdict of an endpoint the series of its address."""
        address = rows.columns["address"]
        codes = np.full(len(rows), -1, np.int32) if address is None else address
        distinct, inverse = np.unique(codes, return_inverse=True)
        sums = np.array(
            [crc32(strings[code].encode()) if code >= 0 else 0 for code in distinct.tolist()], np.int64
        )
        verdicts["series"] = target_series(sums[inverse], _whole(rows, "family"))
        for series, code in np.unique(np.stack((verdicts["series"], codes)), axis=1).T.tolist():
            if code >= 0:
                self.labels[str(series)] = strings[code]


def _verdicts(table: str, rows: Rows, resolved: Resolved) -> Verdicts:
    performance = table == "performance"
    out = np.zeros(len(rows), VERDICT)
    out["object"] = resolved.parent_id[rows.target]
    out["probe"] = resolved.probe_id[rows.batch]
    out["at_us"] = rows.measured_at_us
    out["ok"] = _column(rows, "connection_success" if performance else "ok", -1)
    out["failure"] = np.maximum(_column(rows, "failure", 0), 0)
    if performance:
        out["series"] = server_series(_protocol(rows, resolved), _whole(rows, "family"))
        connect, ping = (_column(rows, name, np.nan) for name in ("connection_time_ms", "ping_ms"))
        by_ping = _whole(rows, "quality") & Quality.SUCCESS_BY_PING != 0
        out["ms"] = np.where(by_ping, ping, connect)
    else:
        status = _whole(rows, "status")
        out["status"] = np.where(status <= _LAST_STATUS, status, 0)
        out["ms"] = _column(rows, "total_ms", np.nan)
    return out


def _protocol(rows: Rows, resolved: Resolved) -> NDArray[np.int32]:
    codes = rows.columns["protocol"]
    if codes is None:
        return np.zeros(len(rows), np.int32)
    return np.where(codes >= 0, resolved.protocol_id[codes], 0).astype(np.int32)


def _column(rows: Rows, name: str, absent: float) -> NDArray[Any]:
    values = rows.columns[name]
    return np.full(len(rows), absent) if values is None else values


def _whole(rows: Rows, name: str) -> NDArray[np.int32]:
    """A column of whole numbers; what is NULL is 0."""
    values = rows.columns[name]
    if values is None:
        return np.zeros(len(rows), np.int32)
    return np.maximum(values, 0).astype(np.int32)


def _counts(verdicts: Verdicts, rows: Rows) -> NDArray[np.bool_]:
    """Which rows say whether their thing works: not those of an unfit vantage, or that our side spoilt."""
    doubtful = _whole(rows, "quality") & int(_DOUBTFUL) != 0
    chosen: NDArray[np.bool_] = (verdicts["ok"] >= 0) & ~doubtful & ~np.isin(verdicts["failure"], _OURS)
    return chosen
