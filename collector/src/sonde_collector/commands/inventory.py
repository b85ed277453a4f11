"""`apply`: the fleet file into the database; the difference and the cost first."""

import argparse
from pathlib import Path
from typing import Any

from sonde_collector.commands.output import number, say, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig
from sonde_collector.control.assignments import unreachable
from sonde_collector.db.pool import open_database
from sonde_collector.inventory import cost
from sonde_collector.inventory.apply import Applied, apply
from sonde_collector.inventory.cost import Cost
from sonde_collector.inventory.difference import Change
from sonde_collector.inventory.fleet_file import Fleet, load_fleet
from sonde_collector.inventory.references import chosen

_AGENT_CONCURRENCY = 32  # an agent's default cap on runs under way
_MONTH_DAYS = 30
_SHOWN = 60  # characters of a value in a difference


def register(commands: Subparsers) -> None:
    """Add the parser."""
    parser = add(
        commands,
        "apply",
        run,
        "make inventory and plans what a fleet file says",
        examples=(
            "sonde-collector apply fleet.toml --dry-run    the difference and what it costs each vantage",
            "sonde-collector apply fleet.toml",
        ),
        detail=(
            "Prints + added, ~ changed, - deactivated. What is gone from the file is deactivated, "
            "never deleted; what no fleet file ever named, and columns that it does not have, are left alone."
        ),
    )
    parser.add_argument("fleet", type=Path, metavar="FLEET.TOML")
    parser.add_argument("--dry-run", action="store_true", help="only show the difference and the cost")


def run(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Apply a fleet file."""
    fleet = load_fleet(args.fleet)
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        applied = apply(conn, fleet, dry_run=args.dry_run)
    costs = {code: cost.total(one.cost for one in tasks) for code, tasks in applied.tasks.items()}
    notices = [*_notices(fleet, costs), *_left_alone(applied)]
    if args.json:
        say_json(_as_json(applied, costs, notices, dry_run=args.dry_run))
        return 0
    for change in applied.changes:
        say(describe(change))
    if args.dry_run and costs:
        _say_costs(costs)
    for notice in notices:
        say(f"note: {notice}")
    say(_summary(applied, dry_run=args.dry_run))
    return 0


def describe(change: Change) -> str:
    """Give a change in one line. **Pure**."""
    if change.sign == "-":
        return f"- {change.kind} {change.key}: deactivated"
    if change.sign == "+":
        parts = [f"{name} {_value(new)}" for name, (_, new) in change.fields.items()]
    else:
        parts = [f"{name} {_value(old)} → {_value(new)}" for name, (old, new) in change.fields.items()]
    return f"{change.sign} {change.kind} {change.key}: {', '.join(parts)}"


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        text = "[" + ", ".join(_value(one) for one in value) + "]"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{name} {_value(one)}" for name, one in value.items()) + "}"
    else:
        text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _summary(applied: Applied, *, dry_run: bool) -> str:
    if not applied.changes and not applied.reassigned:
        return "nothing to do: the database is what the file says"
    count = {sign: sum(change.sign == sign for change in applied.changes) for sign in "+~-"}
    would = "would be " if dry_run else ""
    parts = [f"{count['+']} {would}added", f"{count['~']} changed", f"{count['-']} deactivated"]
    get = "would get" if dry_run else "get"
    return f"{', '.join(parts)}; {len(applied.reassigned)} vantage(s) {get} new tasks"


def _say_costs(costs: dict[str, Cost]) -> None:
    headers = ("vantage", "tasks", "runs/hour", "packets/day", "MB/day", "busy h/day", "at once")
    rows = [
        (
            code,
            str(one.tasks),
            number(one.runs_per_hour),
            number(one.packets_per_day),
            number(one.bytes_per_day / 1e6, 1),
            number(one.busy_s_per_day / 3600, 1),
            number(one.at_once, 2),
        )
        for code, one in costs.items()
    ]
    say_table(headers, rows)


def _notices(fleet: Fleet, costs: dict[str, Cost]) -> list[str]:
    """Give what an operator should know, though it is no mistake. **Pure**."""
    out = []
    servers = {server.key: server for server in fleet.server}
    for plan in fleet.plan:
        if "ping" in plan.checks and plan.success is None:
            out.append(
                f'plan {plan.key} pings: connection_success stays NULL, as success = "ping" is not set'
            )
        without = [key for key in chosen(plan.servers, servers) if unreachable(plan, servers[key])]
        if without:
            out.append(
                f"plan {plan.key} can't ping {_some(without)} in every family: no address or name for it"
            )
    for vantage in fleet.vantage:
        month = costs[vantage.code].bytes_per_day * _MONTH_DAYS / 1e9
        if vantage.monthly_gb is not None and month > vantage.monthly_gb:
            out.append(
                f"vantage {vantage.code}: {month:.1f} GB a month, and monthly_gb = {vantage.monthly_gb:g}"
            )
        at_once = costs[vantage.code].at_once
        if at_once > _AGENT_CONCURRENCY:
            out.append(
                f"vantage {vantage.code}: {at_once:.0f} runs at once, and an agent allows "
                f"{_AGENT_CONCURRENCY} unless its limits.concurrency says more"
            )
    return out


def _left_alone(applied: Applied) -> list[str]:
    return [
        f"{count} {kind} row(s) that no fleet file named are left alone"
        for kind, count in applied.left_alone.items()
    ]


def _some(keys: list[str]) -> str:
    shown = ", ".join(keys[:3])
    return shown if len(keys) <= 3 else f"{shown} and {len(keys) - 3} more"  # noqa: PLR2004 -- a line's worth


def _as_json(
    applied: Applied, costs: dict[str, Cost], notices: list[str], *, dry_run: bool
) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "changes": [
            {
                "sign": change.sign,
                "kind": change.kind,
                "key": change.key,
                "fields": {name: {"old": old, "new": new} for name, (old, new) in change.fields.items()},
            }
            for change in applied.changes
        ],
        "reassigned": applied.reassigned,
        "vantages": {
            code: {
                "tasks": one.tasks,
                "runs_per_hour": one.runs_per_hour,
                "packets_per_day": one.packets_per_day,
                "bytes_per_day": one.bytes_per_day,
                "busy_s_per_day": one.busy_s_per_day,
            }
            for code, one in costs.items()
        },
        "notices": notices,
    }
