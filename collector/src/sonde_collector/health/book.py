"""What health keeps in PostgreSQL: read and written inside the caller's transaction."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from sonde_collector.db.queries import query
from sonde_collector.health.certificates import Certificate
from sonde_collector.health.decide import Decided
from sonde_collector.health.entries import Verdicts, pack, unpack
from sonde_collector.health.kept import Kept, Key
from sonde_collector.health.picture import US
from sonde_collector.health.states import Standing, from_json
from sonde_collector.health.tell import Event
from sonde_collector.health.watched import KINDS, Kind, Watched, read

_PIECES = 1000  # of the inbox at a turn: what is more waits for the next
Labels = dict[int, dict[str, str]]


def take(conn: psycopg.Connection) -> tuple[dict[Kind, Verdicts], dict[str, str], bool]:
    """Take what came since the last turn: verdicts by kind, labels of series, and whether more waits."""
    rows = conn.execute(query("health_take"), {"most": _PIECES}, binary=True).fetchall()
    labels: dict[str, str] = {}
    for _, _, some in rows:
        labels |= some or {}
    new = {kind: unpack(verdicts for object_, verdicts, _ in rows if object_ == kind) for kind in KINDS}
    return new, labels, len(rows) == _PIECES


def windows(conn: psycopg.Connection) -> tuple[dict[Kind, Verdicts], dict[Kind, Labels]]:
    """Give what is remembered of all objects, sorted, and the labels by object id."""
    rows = conn.execute(query("health_windows"), binary=True).fetchall()
    known = {kind: unpack(verdicts for object_, _, verdicts, _ in rows if object_ == kind) for kind in KINDS}
    labels: dict[Kind, Labels] = {kind: {} for kind in KINDS}
    for object_, one, _, some in rows:
        labels[object_][one] = some
    return known, labels


def watched(conn: psycopg.Connection, labels: Labels) -> Watched:
    """Give the inventory, the vantages, and what is known of them."""
    row = conn.execute(query("health_watched")).fetchone()
    assert row is not None
    return read(row[0], labels)


def states(conn: psycopg.Connection) -> dict[Key, Kept]:
    """Give all states."""
    return {
        (object_, key): Kept(from_json(Standing(state, since, reason, flapping), data), checked, held, data)
        for object_, key, state, since, reason, checked, flapping, held, data in conn.execute(
            query("health_states")
        )
    }


def found_certificates(conn: psycopg.Connection) -> dict[int, list[Certificate]]:
    """Give the newest certificates of each target's addresses."""
    found: dict[int, list[Certificate]] = {}
    for target, address, not_after in conn.execute(query("health_certificates")):
        found.setdefault(target, []).append(Certificate(address, not_after))
    return found


def remember(
    conn: psycopg.Connection,
    kind: Kind,
    folded: Verdicts,
    touched: Iterable[int],
    labels: Mapping[int, Mapping[str, str]],
) -> None:
    """Keep the windows of the objects that something came for."""
    rows = []
    listed = np.array(list(touched), np.int64)
    objects = np.ascontiguousarray(folded["object"])
    starts, ends = np.searchsorted(objects, listed), np.searchsorted(objects, listed, "right")
    for one, start, end in zip(listed.tolist(), starts.tolist(), ends.tolist(), strict=True):
        mine = folded[start:end]
        kept = labels.get(one, {})
        if kept:
            used = {str(series) for series in mine["series"].tolist()}
            kept = {series: label for series, label in kept.items() if series in used}
        rows.append({"object": kind, "id": one, "verdicts": pack(mine), "labels": Jsonb(kept)})
    _many(conn, "health_remember", rows)


def write(conn: psycopg.Connection, decided: Decided, now: float) -> None:
    """Write what was decided."""
    _many(
        conn,
        "health_line",
        [
            {
                "probe": probe,
                "last_ok": line.last_ok,
                "gaps": Jsonb([[gap.start, gap.end, gap.ours] for gap in line.gaps]),
            }
            for probe, line in decided.lines.items()
        ],
    )
    for begins in decided.begins:
        values = {"provider": begins.provider, "since": begins.since, "servers": list(begins.servers)}
        conn.execute(query("health_hold_begins"), values)
    for hold in decided.ends:
        conn.execute(query("health_hold_ends"), {"id": hold.id, "ended": hold.ended})
    _hold_rows(conn, decided.held)
    _many(conn, "health_state", [_state_row(key, kept) for key, kept in decided.states.items()])
    _many(conn, "health_state_gone", [{"object": kind, "key": key} for kind, key in decided.gone])
    if decided.gone:
        conn.execute(query("health_forget"))
    _many(
        conn,
        "health_change",
        [
            {
                "object": moved.object,
                "key": moved.key,
                "at": now,
                "from": moved.change.before,
                "to": moved.change.after,
                "reason": moved.change.reason,
                "flapping": moved.change.flapping,
                "data": Jsonb(moved.data),
            }
            for moved in decided.changes
        ],
    )
    publish(conn, decided.events)


def publish(conn: psycopg.Connection, events: Sequence[Event]) -> None:
    """Write events, in order."""
    _many(
        conn,
        "health_event",
        [
            {
                "kind": event.kind,
                "subject": event.subject,
                "detail": event.detail,
                "data": Jsonb(event.data),
                "dedup": event.dedup,
                "severity": event.severity,
                "topic": event.topic,
                "resolved": event.resolved,
            }
            for event in events
        ],
    )


def _hold_rows(conn: psycopg.Connection, held: Sequence[Verdicts]) -> None:
    if not held:
        return
    rows = np.concatenate(held)
    conn.execute(query("health_rollups_wait"))
    conn.execute(
        query("health_hold_rows"),
        {
            "at": [instant(at) for at in rows["at_us"].tolist()],
            "servers": rows["object"].tolist(),
            "probes": rows["probe"].tolist(),
            "first": instant(int(rows["at_us"].min())),
            "last": instant(int(rows["at_us"].max())),
        },
    )


def instant(at_us: int) -> datetime:
    """Give a moment exactly; a float of seconds would lose the last microsecond."""
    seconds, rest = divmod(at_us, int(US))
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest)


def _state_row(key: Key, kept: Kept) -> dict[str, Any]:
    return {
        "object": key[0],
        "key": key[1],
        "state": kept.standing.state,
        "since": kept.standing.since,
        "reason": kept.standing.reason,
        "checked_at": kept.checked_at,
        "flapping": kept.standing.flapping,
        "held": kept.held,
        "data": Jsonb(dict(kept.data)),
    }


def _many(conn: psycopg.Connection, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Run a statement for each row, without waiting for each answer."""
    if rows:
        with conn.cursor() as cursor:
            cursor.executemany(query(name), rows)
