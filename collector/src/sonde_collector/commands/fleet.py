"""`agents` and `status`: how fleet and database are now."""

import argparse
import time
from typing import Any

import psycopg

from sonde_collector.commands import agent_identity, agent_pause, agent_runs
from sonde_collector.commands.output import (
    ago,
    joined,
    number,
    say,
    say_json,
    say_table,
)
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import open_database
from sonde_collector.keeping import capacity, measure
from sonde_collector.read import status as read
from sonde_proto.units import format_size

_HEADERS = (
    "vantage",
    "state",
    "version",
    "revision",
    "seen",
    "lag",
    "spool rows",
    "clock ms",
    "ready",
    "refuses",
    "certificate",
    "what is wrong",
)


def register(commands: Subparsers) -> None:
    """Add the parsers."""
    parser = add(
        commands, "agents", agents, "every vantage's agent: last seen, revision, what waits, what is wrong",
        examples=(
            "sonde-collector agents",
            "sonde-collector agents --json | jq '.[] | select(.state != \"live\")'",
            "sonde-collector agents run speed --on ams1,nyc1",
            "sonde-collector agents pause ams1 --for 2h --reason 'new uplink'",
            "sonde-collector agents token ams1",
            'sonde-collector agents revoke ams1 --reason "host was broken into"',
        ),
    )  # fmt: skip
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")
    for group in (agent_runs, agent_pause, agent_identity):
        group.register(actions)
    add(
        commands, "status", status, "the health of database and fleet on one screen",
        examples=("sonde-collector status", "sonde-collector status --json"),
    )  # fmt: skip


def agents(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Show the agents."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        rows, refused = read.agents(conn), read.refused_credentials(conn)
    if args.json:
        say_json(rows)
        return 0
    if not rows:
        say("no vantage yet: write a fleet file and run `sonde-collector apply fleet.toml`")
        return 0
    several = len({row["collector"] for row in rows if row["collector"]}) > 1
    say_table(_HEADERS, [_agent(row, several=several) for row in rows])
    for one in refused:
        name, servers = one["credential"], ", ".join(one["servers"] or ())
        say(
            f'credential "{name}" is refused on {servers}: its runs wait for '
            f"`sonde-collector credentials resume {name}`"
        )
    return 0


def _agent(row: dict[str, Any], *, several: bool) -> tuple[str, ...]:
    if row["silent_s"] is None:
        return (row["vantage"], row["state"], *["-"] * 8, _certificate(row), _wrong(row))
    revision = f"{row['revision']} (behind {row['assigned'] or 0})" if row["behind"] else str(row["revision"])
    ready = "yes" if row["ready"] else "no"
    version = f"{row['version']} ({row['version_is']})" if row["version_is"] else row["version"]
    where = f" at {row['collector']}" if several and row["collector"] else ""
    return (
        row["vantage"], row["state"], version, revision,
        f"{ago(row['silent_s'])} ago{where}", ago(row["lag_s"]), str(row["spool_rows"]),
        number(row["clock_offset_ms"], 1), ready, str(len(row["refused"])), _certificate(row), _wrong(row),
    )  # fmt: skip


def _certificate(row: dict[str, Any]) -> str:
    if row["revoked"] is not None:
        return "revoked"
    left_s = row["certificate_left_s"]
    if left_s is None:
        return "-"
    return f"ends in {ago(left_s)}" if left_s > 0 else f"ended {ago(-left_s)} ago"


def _wrong(row: dict[str, Any]) -> str:
    revoked = f"revoked: {row['revoked']}" if row["revoked"] is not None else ""
    parts = [_paused(row), revoked]
    if row["silent_s"] is not None:
        parts += [row["reason"] if not row["ready"] else "", row["last_error"]]
    if refused := row["refused"]:
        first = refused[0]
        more = f" and {len(refused) - 1} more" if len(refused) > 1 else ""
        parts.append(f"refuses {first['task']}{more}: {first['reason']}")
    return "; ".join(part for part in parts if part)


def _paused(row: dict[str, Any]) -> str:
    if not row["paused"]:
        return ""
    until = f" until {row['paused_until']:%Y-%m-%d %H:%M} UTC" if row["paused_until"] else ""
    why = f" ({row['pause_reason']})" if row["pause_reason"] else ""
    old = "" if "pause" in (row["capabilities"] or ("pause",)) else ", and its agent is too old to hear of it"
    return f"paused{until}{why}{old}"


def status(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Show the health."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        now = read.status(conn)
        now["disk"] = _disk(config, conn)
    if args.json:
        say_json(now)
        return 0
    database_, fleet, refused = now["database"], now["agents"], now["refused_credentials"]
    size, version = format_size(database_["bytes"]), database_["version"]
    oldest = fleet["oldest_unacked"]
    waiting = ago(time.time() - oldest.timestamp()) if oldest else "none"
    until = min((one["until"] for one in now["partitions"] if one["until"]), default=None)
    lines = {
        "database": f"{database_['name']}, {size}, PostgreSQL {version}",
        "schema": now["schema"]["at"]
        + (f", pending: {', '.join(now['schema']['pending'])}" * bool(now["schema"]["pending"])),
        "partitions": f"{sum(one['count'] for one in now['partitions'])}, all until {until:%Y-%m-%d}"
        if until
        else "none",
        "agents": joined({name: fleet[key] for name, key in _AGENT_WORDS}),
        "oldest unacked": f"{waiting} ({fleet['spool_rows']} results wait on agents)",
        "credentials": joined({one["credential"]: f"refused for {ago(one['refused_s'])}" for one in refused})
        or "none refused",
        "rejected": joined({one["reason"]: one["rows"] for one in now["rejected"]}) or "none",
        "gaps": joined({one["reason"]: f"{one['gaps']} ({one['results']} results)" for one in now["gaps"]})
        or "none",
        "backup": _backup(now["backup"]),
        "disk": _room(now["disk"]),
    }
    width = max(map(len, lines))
    for name, text in lines.items():
        say(f"{name.ljust(width)}  {text}")
    say()
    rows = [(one["table"], _count(one["last_minute"]), _count(one["last_hour"])) for one in now["rows"]]
    say_table(("rows measured in", "last minute", "last hour"), rows)
    return 0


def _disk(config: CollectorConfig, conn: psycopg.Connection) -> dict[str, Any]:
    """How long the disk lasts by the last day; `capacity` says more."""
    free = measure.free(config, conn, None)
    left = None
    if free.bytes is not None:
        _, flows = measure.reckon(config, conn, window_days=1)
        days = capacity.days_left(flows, free.bytes, planned=False)
        left = None if days > capacity.FAR_DAYS else days
    return {"free_bytes": free.bytes, "where": free.where, "days_left": left}


def _room(disk: dict[str, Any]) -> str:
    if disk["free_bytes"] is None:
        return str(disk["where"])
    end = "" if disk["days_left"] is None else f", full in {disk['days_left']:.0f} days as things go"
    return f"{format_size(disk['free_bytes'])} free where {disk['where']} is{end}"


def _backup(last: dict[str, Any] | None) -> str:
    return (
        "none" if last is None else f"{ago(last['age_s'])} old, {format_size(last['bytes'])}, {last['place']}"
    )


_AGENT_WORDS = (
    ("live", "live"),
    ("silent", "silent"),
    ("never seen", "never_seen"),
    ("paused", "paused"),
    ("not ready", "unready"),
)


def _count(rows: int) -> str:
    return f"> {read.COUNTED}" if rows > read.COUNTED else str(rows)
