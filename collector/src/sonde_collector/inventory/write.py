"""The changes of an apply, written inside its transaction."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from sonde_collector.db.queries import query
from sonde_collector.inventory.change import Change, Current
from sonde_collector.inventory.countries import countries
from sonde_collector.inventory.difference import freed
from sonde_collector.inventory.ways_difference import ENDS, epochs

_VERBS = {"+": "add", "~": "change", "-": "deactivate"}
_Rows = list[dict[str, Any]]


class Writer:
    """Writes changes inside the caller's transaction; those of one kind together, there may be thousands."""

    def __init__(self, conn: psycopg.Connection, current: Current) -> None:
        self._conn = conn
        self._countries: dict[str, int] = dict(current["countries"])
        self._cities = {(row["country"], row["name"].casefold()): row["id"] for row in current["cities"]}
        self._providers = {row["key"]: row["id"] for row in current["providers"]}
        self._protocols: dict[str, int] = dict(current["protocols"])
        self._vantages = {row["code"]: row["id"] for row in current["vantages"]}
        self._spoken = {row["id"]: set(row["protocols"]) for row in current["servers"]}
        self._servers = {row["key"]: row["id"] for row in current["servers"] if row["key"] is not None}

    def write(self, changes: Sequence[Change], bodies: dict[str, bytes]) -> None:
        """Write `changes`, and the new task lists by vantage code."""
        if ids := freed(changes):
            self._conn.execute(query("inventory_free_hostname"), (ids,))
        writes: dict[str, Callable[[list[Change]], None]] = {
            "vantage": self._each(self._vantage),
            "provider": self._each(self._provider),
            "account": self._each(self._account),
            "server": self._write_servers,
            "profile": self._write_profiles,
            "target": self._each(self._spec),
            "plan": self._each(self._spec),
            "notify": self._each(self._spec),
            "maintenance": self._each(self._spec),
            "origin_group": self._each(self._spec),
            "health": self._each(self._spec),
            "platform": self._each(self._platform),
            "canary": self._each(self._canary),
        }
        for kind, write in writes.items():
            if of_kind := [change for change in changes if change.kind == kind]:
                write(of_kind)
        self._write_epochs(changes)
        for code, body in bodies.items():
            self._conn.execute(query("inventory_assign"), {"id": self._vantages[code], "body": body})
        if bodies:
            self._conn.execute(query("inventory_notify"))

    @staticmethod
    def _each(write: Callable[[Change], None]) -> Callable[[list[Change]], None]:
        def all_of(changes: list[Change]) -> None:
            for change in changes:
                write(change)

        return all_of

    def _vantage(self, change: Change) -> None:
        if change.sign == "-":
            self._conn.execute(query("inventory_deactivate_vantage"), change.row)
            return
        row = {**change.row, "city_id": self._city(change.row)}
        if change.sign == "+":
            row["id"] = self._vantages[change.key] = self._one("inventory_add_vantage", row)
        else:
            self._conn.execute(query("inventory_change_vantage"), row)
        self._conn.execute(query("inventory_manage_vantage"), row)

    def _provider(self, change: Change) -> None:
        if change.sign == "+":
            self._providers[change.key] = self._one("inventory_add_provider", change.row)
        else:
            self._conn.execute(query(f"inventory_{_VERBS[change.sign]}_provider"), change.row)

    def _account(self, change: Change) -> None:
        row = {**change.row, "provider_id": self._providers[change.row["provider"]]}
        self._conn.execute(query(f"inventory_{_VERBS[change.sign]}_account"), row)

    def _write_servers(self, changes: list[Change]) -> None:
        gone = [change.row for change in changes if change.sign == "-"]
        new, kept = (
            [
                {
                    **change.row,
                    "provider_id": self._providers[change.row["provider"]],
                    "city_id": self._city(change.row),
                }
                for change in changes
                if change.sign == sign
            ]
            for sign in "+~"
        )
        self._many("inventory_deactivate_server", gone)
        self._many("inventory_change_server", kept)
        unkeyed = [row for row in kept if row["key"] not in self._servers]
        self._many("inventory_key_server", unkeyed)
        self._servers |= {row["key"]: row["id"] for row in unkeyed}
        if new:
            columns = ("key", "provider_id", "city_id", "hostname", "ip_address")
            given = self._conn.execute(
                query("inventory_add_servers"),
                (Jsonb([{name: row[name] for name in columns} for row in new]),),
            )
            self._servers |= dict(given.fetchall())
        self._write_protocols(
            (self._servers[row["key"]], set(row["protocols"]))
            for row in [*new, *kept]
            if row["protocols"] is not None
        )

    def _write_protocols(self, wanted: Iterable[tuple[int, set[str]]]) -> None:
        lists: dict[str, _Rows] = {"add": [], "drop": []}
        for server, after in wanted:
            before = self._spoken.get(server, set())
            for verb, names in (("add", after - before), ("drop", before - after)):
                lists[verb] += [{"id": server, "name": name} for name in sorted(names)]
        for verb, rows in lists.items():
            self._at_once(f"inventory_{verb}_protocols", rows)

    def _write_profiles(self, changes: list[Change]) -> None:
        for sign, verb in _VERBS.items():
            rows = [
                {
                    **change.row,
                    "server_id": self._servers[change.row["server"]],
                    "protocol_id": self._protocols[change.row["protocol"]],
                    "begins": any(name in change.fields for name in ENDS),
                }
                for change in changes
                if change.sign == sign
            ]
            self._at_once(f"inventory_{verb}_profiles", rows)
        self._conn.execute(query("inventory_ports"))

    def _write_epochs(self, changes: Sequence[Change]) -> None:
        rows = [
            {
                **row,
                "server_id": self._servers[row["server"]],
                "protocol_id": row["protocol"] and self._protocols[row["protocol"]],
            }
            for row in epochs(changes)
        ]
        self._at_once("inventory_add_epochs", rows)

    def _spec(self, change: Change) -> None:
        values = {"key": change.key, "spec": Jsonb(change.row["spec"])}
        self._conn.execute(query(f"inventory_{_VERBS[change.sign]}_{change.kind}"), values)

    def _platform(self, change: Change) -> None:
        self._conn.execute(query("inventory_add_platform"), change.row)

    def _canary(self, change: Change) -> None:
        row = {**change.row, "server_id": self._servers[change.key]}
        self._conn.execute(query(f"inventory_{_VERBS[change.sign]}_canary"), row)

    def _city(self, row: dict[str, Any]) -> int:
        code, name = row["country"], row["city"]
        if code not in self._countries:
            self._countries[code] = self._one("inventory_add_country", (code, countries()[code]))
        place = (code, name.casefold())
        if place not in self._cities:
            self._cities[place] = self._one("inventory_add_city", (self._countries[code], name))
        return int(self._cities[place])

    def _one(self, name: str, values: Any) -> Any:
        row = self._conn.execute(query(name), values).fetchone()
        assert row is not None
        return row[0]

    def _many(self, name: str, rows: _Rows) -> None:
        """Run a statement for each row, without waiting for each answer."""
        if rows:
            with self._conn.cursor() as cursor:
                cursor.executemany(query(name), rows)

    def _at_once(self, name: str, rows: _Rows) -> None:
        """Run a statement over all rows."""
        if rows:
            self._conn.execute(query(name), (Jsonb(rows),))
