"""A fleet file into the database: one transaction, nothing drawn or touched for what is unchanged."""

import hashlib
from typing import Any

import attrs
import psycopg
from psycopg.types.json import Jsonb

from sonde_collector.control.assignments import Costed, assign, serialise
from sonde_collector.db.queries import query
from sonde_collector.inventory.countries import countries
from sonde_collector.inventory.difference import Change, Current, compare, freed, unmanaged
from sonde_collector.inventory.fleet_file import Fleet


@attrs.frozen
class Applied:
    """What an apply did, or would do.

    Attributes:
        changes: the difference between file and database.
        reassigned: codes of vantages whose tasks change.
        tasks: every vantage's tasks with their cost.
        left_alone: rows that no fleet file ever named, by kind.
    """

    changes: list[Change]
    reassigned: list[str]
    tasks: dict[str, list[Costed]]
    left_alone: dict[str, int]


def apply(conn: psycopg.Connection, fleet: Fleet, *, dry_run: bool = False) -> Applied:
    """Make the database what `fleet` says. Several at once wait for each other.

    Args:
        conn: outside any transaction.
        fleet: what to apply.
        dry_run: only look; nothing is written or locked.

    Raises:
        ConfigError: the file can't be applied to this database; with every mistake.
    """
    tasks = assign(fleet)
    with conn.transaction():
        if dry_run:
            conn.execute(query("inventory_read_only"))
        else:
            conn.execute(query("inventory_lock"))
        current = _one(conn, "inventory_read")
        changes = compare(fleet, current)
        bodies = {code: serialise(costed) for code, costed in tasks.items()}
        reassigned = _reassigned(bodies, current)
        if not dry_run:
            _Writer(conn, current).write(changes, {code: bodies.get(code, b"") for code in reassigned})
    return Applied(changes, reassigned, tasks, unmanaged(fleet, current, changes))


def _reassigned(bodies: dict[str, bytes], current: Current) -> list[str]:
    """Give the vantages whose stored tasks are not these. One that is gone from the file has none."""
    stored = {row["code"]: row["digest"] for row in current["vantages"]}
    out = [code for code, body in bodies.items() if stored.get(code) != _digest(body)]
    empty = _digest(b"")
    out += [code for code, digest in stored.items() if code not in bodies and digest not in (None, empty)]
    return out


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _one(conn: psycopg.Connection, name: str, values: Any = None) -> Any:
    row = conn.execute(query(name), values).fetchone()
    assert row is not None
    return row[0]


class _Writer:
    """Writes changes inside the caller's transaction."""

    def __init__(self, conn: psycopg.Connection, current: Current) -> None:
        self._conn = conn
        self._countries: dict[str, int] = dict(current["countries"])
        self._cities = {(row["country"], row["name"].casefold()): row["id"] for row in current["cities"]}
        self._providers = {row["key"]: row["id"] for row in current["providers"]}
        self._vantages = {row["code"]: row["id"] for row in current["vantages"]}
        self._protocols = {row["id"]: set(row["protocols"]) for row in current["servers"]}
        self._writes = {
            "vantage": self._vantage,
            "provider": self._provider,
            "server": self._server,
            "target": self._spec,
            "plan": self._spec,
        }
        self._keyed = {row["id"] for row in current["servers"] if row["key"] is not None}

    def write(self, changes: list[Change], bodies: dict[str, bytes]) -> None:
        """Write `changes`, and the new task lists by vantage code."""
        if ids := freed(changes):
            self._conn.execute(query("inventory_free_hostname"), (ids,))
        for change in changes:
            self._writes[change.kind](change)
        for code, body in bodies.items():
            self._conn.execute(query("inventory_assign"), {"id": self._vantages[code], "body": body})
        if bodies:
            self._conn.execute(query("inventory_notify"))

    def _vantage(self, change: Change) -> None:
        if change.sign == "-":
            self._conn.execute(query("inventory_deactivate_vantage"), change.row)
            return
        row = {**change.row, "city_id": self._city(change.row)}
        if change.sign == "+":
            row["id"] = self._vantages[change.key] = _one(self._conn, "inventory_add_vantage", row)
        else:
            self._conn.execute(query("inventory_change_vantage"), row)
        self._conn.execute(query("inventory_manage_vantage"), row)

    def _provider(self, change: Change) -> None:
        if change.sign == "+":
            self._providers[change.key] = _one(self._conn, "inventory_add_provider", change.row)
        else:
            self._conn.execute(query(f"inventory_{_VERBS[change.sign]}_provider"), change.row)

    def _server(self, change: Change) -> None:
        if change.sign == "-":
            self._conn.execute(query("inventory_deactivate_server"), change.row)
            return
        row = {
            **change.row,
            "provider_id": self._providers[change.row["provider"]],
            "city_id": self._city(change.row),
        }
        if change.sign == "+":
            row["id"] = _one(self._conn, "inventory_add_server", row)
        else:
            self._conn.execute(query("inventory_change_server"), row)
        if row["id"] not in self._keyed:
            self._conn.execute(query("inventory_key_server"), row)
        if row["protocols"] is not None:
            before, after = self._protocols.get(row["id"], set()), set(row["protocols"])
            for verb, names in (("add", after - before), ("drop", before - after)):
                if names:
                    values = {"id": row["id"], "names": sorted(names)}
                    self._conn.execute(query(f"inventory_{verb}_protocols"), values)

    def _spec(self, change: Change) -> None:
        values = {"key": change.key, "spec": Jsonb(change.row["spec"])}
        self._conn.execute(query(f"inventory_{_VERBS[change.sign]}_{change.kind}"), values)

    def _city(self, row: dict[str, Any]) -> int:
        code, name = row["country"], row["city"]
        if code not in self._countries:
            self._countries[code] = _one(self._conn, "inventory_add_country", (code, countries()[code]))
        place = (code, name.casefold())
        if place not in self._cities:
            self._cities[place] = _one(self._conn, "inventory_add_city", (self._countries[code], name))
        return int(self._cities[place])


_VERBS = {"+": "add", "~": "change", "-": "deactivate"}
