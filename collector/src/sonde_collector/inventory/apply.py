"""A fleet file into the database: one transaction, nothing drawn or touched for what is unchanged."""

import hashlib
from collections.abc import Sequence
from typing import Any

import attrs
import psycopg

from sonde_collector.control.assignments import Costed, assign, serialise
from sonde_collector.db.queries import query
from sonde_collector.inventory import fit, references
from sonde_collector.inventory.change import Change, Current
from sonde_collector.inventory.difference import compare, unmanaged
from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.roster import Roster, roster
from sonde_collector.inventory.way import Reading
from sonde_collector.inventory.ways_difference import shrunk
from sonde_collector.inventory.write import Writer
from sonde_proto.toml_config import ConfigError

MAY_SHRINK = 0.2
"""Share of an account's servers that may go without a question: a half-copied folder looks the same."""


class Shrunk(ConfigError):
    """A source lists far fewer servers than are known, and nobody said that this is meant."""


@attrs.frozen
class Applied:
    """What an apply did, or would do.

    Attributes:
        roster: all servers of file and sources, and the ways to them.
        changes: the difference between these and the database.
        reassigned: codes of vantages whose tasks change.
        tasks: every vantage's tasks with their cost.
        left_alone: rows that no fleet file ever named, by kind.
        refused: of a dry run: why an apply of this would be refused.
        shrunk: of a dry run: what an apply would ask about.
    """

    roster: Roster
    changes: list[Change]
    reassigned: list[str]
    tasks: dict[str, list[Costed]]
    left_alone: dict[str, int]
    refused: list[str]
    shrunk: list[str]


def apply(
    conn: psycopg.Connection,
    fleet: Fleet,
    readings: Sequence[Reading] = (),
    *,
    dry_run: bool = False,
    may_shrink: bool = False,
) -> Applied:
    """Make the database what `fleet` says. Several at once wait for each other.

    Args:
        conn: outside any transaction.
        fleet: what to apply.
        readings: of its sources.
        dry_run: only look; nothing is written or locked.
        may_shrink: a source may list far fewer servers than before.

    Raises:
        ConfigError: the file can't be applied to this database, or its plans don't fit; with every mistake.
            Of a dry run what doesn't fit stands in the answer.
        Shrunk: a source lists far fewer servers than before.
    """
    with conn.transaction():
        if dry_run:
            conn.execute(query("inventory_read_only"))
        else:
            conn.execute(query("inventory_lock"))
        current = _current(conn)
        whole = roster(fleet, readings, current)
        if mistakes := list(references.choices(whole.fleet, whole.ways)):
            raise ConfigError(mistakes)
        changes = compare(whole, current)
        tasks = assign(whole.fleet, whole.ways)
        bodies = {vantage.code: serialise(vantage, tasks[vantage.code]) for vantage in whole.fleet.vantage}
        refused = fit.misfits(whole.fleet, tasks, bodies)
        fewer = [] if may_shrink else list(shrunk(whole, current, MAY_SHRINK))
        reassigned = _reassigned(bodies, current)
        if not dry_run:
            if refused:
                raise ConfigError(refused)
            if fewer:
                raise Shrunk([f"{line}; where that is meant, say --yes" for line in fewer])
            Writer(conn, current).write(changes, {code: bodies.get(code, b"") for code in reassigned})
    left_alone = unmanaged(whole.fleet, current, changes)
    return Applied(whole, changes, reassigned, tasks, left_alone, refused, fewer)


def _reassigned(bodies: dict[str, bytes], current: Current) -> list[str]:
    """Give the vantages whose stored tasks are not these. One that is gone from the file has none."""
    stored = {row["code"]: row["digest"] for row in current["vantages"]}
    out = [code for code, body in bodies.items() if stored.get(code) != _digest(body)]
    empty = _digest(b"")
    out += [code for code, digest in stored.items() if code not in bodies and digest not in (None, empty)]
    return out


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _current(conn: psycopg.Connection) -> Any:
    row = conn.execute(query("inventory_read")).fetchone()
    assert row is not None
    return row[0]
