"""Leases as the database holds them: the same for every collector that asks it.

Each request is one transaction under an advisory lock per resource, so that what was decided is true when it
is written, whoever else decides at the same time.
"""

import datetime as dt
import random
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import psycopg
from attrs import frozen

from sonde_collector.control.credentials import Standing
from sonde_collector.control.leases import (
    LOGIN_WINDOW,
    TTL,
    Account,
    Denial,
    Grant,
    Held,
    Resource,
    Scene,
    Waiting,
    decide,
)
from sonde_collector.db.queries import query

_AT_ONCE = dt.timedelta(0)


@frozen
class Asker:
    """Who asks.

    Attributes:
        probe_id: the vantage.
        instance: its process.
        server: what its run is about.
        patience: how long it asks again.
        most: how many leases it may have; None = any number.
    """

    probe_id: int
    instance: bytes
    server: str
    patience: dt.timedelta | None = None
    most: int | None = None


def acquire(conn: psycopg.Connection, asker: Asker, wanted: Sequence[Resource]) -> UUID | Denial:
    """Decide and write it down; give the lease or why there is none.

    Args:
        conn: outside any transaction.
        asker: for whom.
        wanted: distinct.

    Raises:
        psycopg.Error: nothing was granted; when it is of the COMMIT, nobody knows: it will expire.
    """
    names = _names(wanted)
    with conn.pipeline(), conn.transaction():
        conn.execute(query("leases_patience"))
        conn.execute(query("leases_lock"), _names([*wanted, Resource("vantage", str(asker.probe_id))]))
        mine = conn.execute(query("leases_of"), {"probe_id": asker.probe_id})
        now = conn.execute(query("leases_now"))
        accounts = conn.execute(
            query("leases_accounts"), {"names": [r.name for r in wanted if r.kind == "credential"]}
        )
        held = conn.execute(query("leases_held"), names)
        waiting = conn.execute(query("leases_waiting"), names)
        found, had = now.fetchone(), mine.fetchone()
        assert found is not None
        assert had is not None
        scene = Scene(
            found[0],
            {name: _account(name, *row) for name, *row in accounts},
            [Held(Resource(kind, name), *times) for kind, name, *times in held],
            [Waiting(Resource(kind, name), *place) for kind, name, *place in waiting],
            full=asker.most is not None and had[0] >= asker.most,
        )
        spread = random.random()  # noqa: S311 -- no secret
        decision = decide(wanted, asker.probe_id, scene, spread, asker.patience)
        conn.execute(
            query("leases_clear"),
            {**names, "now": scene.now, "window": LOGIN_WINDOW, "probe_id": asker.probe_id},
        )
        if isinstance(decision, Grant):
            return _grant(conn, asker, decision)
        if decision.lines:
            conn.execute(
                query("leases_wait"),
                {
                    **_names([line.resource for line in decision.lines]),
                    "probe_id": asker.probe_id,
                    "since": [line.since for line in decision.lines],
                    "until": [line.until for line in decision.lines],
                },
            )
        return decision


def _grant(conn: psycopg.Connection, asker: Asker, grant: Grant) -> UUID:
    lease = uuid4()
    conn.execute(
        query("leases_grant"),
        {
            **_names([held.resource for held in grant.holds]),
            "lease": lease,
            "probe_id": asker.probe_id,
            "instance": asker.instance,
            "server": asker.server,
            "granted": [held.granted_at for held in grant.holds],
            "expires": [held.expires_at for held in grant.holds],
            "free": [held.free_at for held in grant.holds],
        },
    )
    return lease


def owner(conn: psycopg.Connection, lease: UUID) -> str | None:
    """Give the code of the vantage that has or had the lease; None where nobody knows it."""
    row = conn.execute(query("leases_owner"), {"lease": lease}).fetchone()
    return None if row is None else str(row[0])


def renew(conn: psycopg.Connection, lease: UUID, *, longest: dt.timedelta) -> bool:
    """Let the lease live on; False when it has ended already, or was granted `longest` ago."""
    return conn.execute(query("leases_renew"), {"lease": lease, "ttl": TTL, "longest": longest}).rowcount > 0


def release(
    conn: psycopg.Connection,
    lease: UUID,
    *,
    connected: bool | None = None,
    settle: dt.timedelta | None = _AT_ONCE,
) -> Sequence[str]:
    """End the lease, and weigh what its run says of the account.

    Args:
        conn: outside any transaction.
        lease: which; one that is not known changes nothing.
        connected: whether the provider let the run in; None = it says neither.
        settle: for how long the provider counts the session yet, its linger at most; None = it was not told
            that the session ended: it lingers.

    Returns:
        The credentials that are refused from now on.
    """
    refused = []
    with conn.pipeline(), conn.transaction():
        conn.execute(query("leases_patience"))
        rows = conn.execute(query("leases_what"), {"lease": lease}).fetchall()
        # Locks first, rows after them, as `acquire` has it: else the two could wait for each other.
        credentials = [Resource(row[0], row[1]) for row in rows if row[0] == "credential"]
        conn.execute(query("leases_lock"), _names(credentials))
        conn.execute(query("leases_release"), {"lease": lease, "settle": settle})
        for kind, name, server, granted_at in rows:
            if kind == "credential" and connected is not None:
                evidence = _Evidence(name, server, granted_at, connected)
                refused += [name] if _weigh(conn, evidence) else []
    return refused


def resume(conn: psycopg.Connection, names: Sequence[str]) -> tuple[set[str], set[str]]:
    """Let accounts be tried again; give those that were refused, and those that the fleet does not have.

    Args:
        conn: outside any transaction.
        names: of credentials.
    """
    with conn.transaction():
        known = {row[0] for row in conn.execute(query("credentials_known"), {"names": list(names)})}
        resumed = {row[0] for row in conn.execute(query("credentials_resume"), {"names": list(known)})}
    return resumed, set(names) - known


@frozen
class _Evidence:
    """What one run says of an account."""

    credential: str
    server: str
    at: dt.datetime
    connected: bool


def _weigh(conn: psycopg.Connection, run: _Evidence) -> bool:
    """Write the evidence of one run down; give whether the account is refused by it."""
    values = {"credential": run.credential, "server": run.server, "at": run.at}
    row = conn.execute(query("credentials_standing"), values).fetchone()
    if row is None:
        return False
    known_good, refused = row
    failures: dict[str, dt.datetime] = dict(conn.execute(query("credentials_failures"), values).fetchall())
    before = Standing(known_good, failures)
    after = before.let_in(run.at) if run.connected else before.turned_away(run.server, run.at)
    if run.connected:
        conn.execute(query("credentials_connected"), values)
    elif after is not before:
        conn.execute(query("credentials_failed"), values | {"at": after.failures[run.server]})
    if after.failures.keys() < failures.keys():
        conn.execute(query("credentials_forget"), values | {"servers": list(after.failures)})
    if after.refused and not refused:
        conn.execute(query("credentials_refuse"), values)
        return True
    return False


def _names(resources: Sequence[Resource]) -> dict[str, list[str]]:
    return {"kinds": [each.kind for each in resources], "names": [each.name for each in resources]}


def _account(name: str, *row: Any) -> Account:
    sessions, logins, same_key_twice, linger_s, refused, refused_at, servers = row
    why = ""
    if refused:
        since = f" since {refused_at:%Y-%m-%d %H:%M} UTC" if refused_at else ""
        on = f" on {', '.join(servers)}" if servers else ""
        why = (
            f'the provider refuses credential "{name}"{since}{on}: see to the account, then run '
            f"`sonde-collector credentials resume {name}`"
        )
    return Account(sessions, logins, same_key_twice, dt.timedelta(seconds=linger_s), why)
