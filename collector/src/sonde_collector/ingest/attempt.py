"""One try of a write's transaction: names become ids, rows are copied or rejected."""

import numpy as np
import psycopg
from attrs import field, frozen
from numpy.typing import NDArray
from psycopg.types.json import Jsonb

from sonde_collector.db.copy import encode, send
from sonde_collector.db.queries import query
from sonde_collector.ingest.cursors import Admitted
from sonde_collector.ingest.judge import Verdict
from sonde_collector.ingest.merge import Rows
from sonde_collector.ingest.prepared import Prepared
from sonde_collector.ingest.rules import MAX_TARGET, Reason
from sonde_collector.ingest.tables import TABLES, Resolved, cells, columns_of
from sonde_collector.ingest.told import Told
from sonde_proto import columns

_PARENTS = {
    "performance": "ingest_lock_servers",
    "endpoint": "ingest_lock_targets",
    "unlock": "ingest_lock_servers",
}
_NAMED = {
    "protocol": ("ingest_protocols", Reason.UNKNOWN_PROTOCOL),
    "platform": ("ingest_lock_platforms", Reason.UNKNOWN_PLATFORM),
}
"""Fields that name a row of a table: the query that finds it, and what is wrong where there is none."""


@frozen
class Reject:
    """A row that can't be written, with the bytes of its result."""

    batch: int
    seq: int
    kind: str
    target: str
    measured_at_us: int
    reason: Reason
    detail: str
    result: bytes


@frozen(eq=False)
class Attempt:
    """One try of the transaction."""

    conn: psycopg.Connection
    prepared: Prepared
    admitted: Admitted
    careful: bool
    stream_id: NDArray[np.int32]
    probe_id: NDArray[np.int16]
    rejects: list[Reject] = field(factory=list)
    copied: list[tuple[str, Rows]] = field(factory=list)
    told: Told = field(factory=Told)

    def resolve(self, rows: Rows, verdict: Verdict) -> Resolved:
        """Finds the ids of what the rows name, locks those parents, and rejects rows that name nothing."""
        prepared = self.prepared
        parent_id = np.zeros(len(prepared.strings), np.int32)
        ids = {name: np.zeros(len(prepared.strings), np.int16) for name in _NAMED}
        if rows.kind in _PARENTS:
            named = self._ids(_PARENTS[rows.kind], rows.target[verdict.accepted], parent_id)
            unknown = ~named[rows.target] & (rows.target >= 0)
            verdict.flag(unknown, Reason.UNKNOWN_TARGET)
        for about, item in enumerate(columns.FIELDS[rows.kind]):
            values = rows.columns[item.name] if item.name in _NAMED else None
            if values is not None:
                find, reason = _NAMED[item.name]
                codes = values.astype(np.int32, copy=False)
                named = self._ids(find, codes[verdict.accepted], ids[item.name])
                verdict.flag(~named[codes] & (codes >= 0), reason, about)
        return Resolved(
            self.stream_id, self.probe_id, parent_id, ids["protocol"], ids["platform"], prepared.texts
        )

    def _ids(
        self, name: str, codes: NDArray[np.int32], into: NDArray[np.int32] | NDArray[np.int16]
    ) -> NDArray[np.bool_]:
        """Writes the id of each string used into its place; says which strings have one."""
        words = self.prepared.strings
        used = np.zeros(len(words), np.bool_)
        used[codes[codes >= 0]] = True
        places = np.flatnonzero(used).tolist()
        distinct = list({words[place] for place in places})
        found: dict[str, int] = {}
        if distinct:
            found = dict(self.conn.execute(query(name), {"keys": Jsonb(distinct)}).fetchall())
        into[places] = [found.get(words[place], 0) for place in places]
        named: NDArray[np.bool_] = into != 0
        return named

    def copy(self, table: str, rows: Rows, resolved: Resolved) -> None:
        """Copies accepted rows; in a careful write, bisects what the database refuses down to the row."""
        if not len(rows):
            return
        values = cells(table, rows, resolved)
        names = [column.name for column in columns_of(table)]
        if not self.careful:
            send(self.conn, TABLES[table], names, encode(values, len(rows)))
        else:
            try:
                with self.conn.transaction():
                    send(self.conn, TABLES[table], names, encode(values, len(rows)))
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                if lacks_partition(error):
                    raise
                if len(rows) == 1:
                    detail = str(error.diag.message_primary or error)
                    self.reject(rows, 0, Reason.REFUSED_BY_DATABASE, f"{error.sqlstate}: {detail}")
                    return
                half = np.arange(len(rows))
                self.copy(table, rows.pick(half[: len(rows) // 2]), resolved)
                self.copy(table, rows.pick(half[len(rows) // 2 :]), resolved)
                return
        self.copied.append((table, rows))
        self.told.add(table, rows, resolved, self.prepared.strings)

    def reject(self, rows: Rows, row: int, reason: Reason, detail: str) -> None:
        """Notes a row that can't be written, with the bytes of its result."""
        batch, index = int(rows.batch[row]), int(rows.index[row])
        arrival = self.prepared.arrivals[batch]
        (table,) = (table for table in arrival.tables if table.kind == rows.kind)
        result = columns.row(table, index, arrival.strings)
        self.rejects.append(
            Reject(
                batch=batch,
                seq=int(rows.seq[row]),
                kind=rows.kind,
                target=result.target.replace("\0", "\ufffd")[:MAX_TARGET],
                measured_at_us=int(rows.measured_at_us[row]),
                reason=reason,
                detail=detail,
                result=result.SerializeToString(),
            )
        )


def lacks_partition(error: psycopg.Error) -> bool:
    """Whether a row had no partition to go to: class 23 like a bad row, but our own fault and mendable."""
    return error.sqlstate == "23514" and error.diag.constraint_name is None
