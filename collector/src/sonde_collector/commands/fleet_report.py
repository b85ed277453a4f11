"""An apply in words, tables and JSON."""

from typing import Any

from sonde_collector.commands.output import number, say, say_table
from sonde_collector.inventory.apply import Applied
from sonde_collector.inventory.change import Change
from sonde_collector.inventory.cost import Cost
from sonde_collector.inventory.fit import Use

_SHOWN = 60  # characters of a value in a difference
_HOUR_S = 3600


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


def summary(applied: Applied, *, dry_run: bool) -> str:
    """Give the last line: how much was, or would be, done. **Pure**."""
    if not applied.changes and not applied.reassigned:
        return "nothing to do: the database is what the file says"
    count = {sign: sum(change.sign == sign for change in applied.changes) for sign in "+~-"}
    would = "would be " if dry_run else ""
    parts = [f"{count['+']} {would}added", f"{count['~']} changed", f"{count['-']} deactivated"]
    get = "would get" if dry_run else "get"
    return f"{', '.join(parts)}; {len(applied.reassigned)} vantage(s) {get} new tasks"


def say_costs(costs: dict[str, Cost], uses: list[Use]) -> None:
    """Write what the plans cost each vantage and ask of each account, at most."""
    headers = (
        "vantage",
        "tasks",
        "runs/hour",
        "packets/day",
        "GB/day",
        "busy h/day",
        "exclusive h/day",
        "at once",
        "tunnels",
        "memory MB",
    )
    rows = [
        (
            code,
            str(one.tasks),
            number(one.runs_per_hour),
            number(one.packets_per_day),
            number(one.bytes_per_day / 1e9, 3),
            number(one.busy_s_per_day / _HOUR_S, 1),
            number(one.exclusive_s_per_day / _HOUR_S, 1),
            number(one.at_once, 2),
            number(one.tunnels_at_once, 2),
            number(one.tunnel_mb),
        )
        for code, one in costs.items()
    ]
    say_table(headers, rows)
    if not uses:
        return
    say()
    say_table(
        ("account", "sessions", "session-h/day", "of", "logins/min"),
        [_use_row(use) for use in uses],
    )


def _use_row(use: Use) -> tuple[str, ...]:
    return (
        use.account.key,
        str(use.account.sessions),
        number(use.session_s_per_day / _HOUR_S, 1),
        number(use.at_once * 24),
        number(use.logins_per_minute, 1),
    )


def as_json(
    applied: Applied,
    costs: dict[str, Cost],
    uses: list[Use],
    notes: list[str],
    bad: list[str],
    *,
    dry_run: bool,
) -> dict[str, Any]:
    """Give all of it for programs. **Pure**."""
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
                "throughput_bytes_per_day": one.throughput_bytes_per_day,
                "busy_s_per_day": one.busy_s_per_day,
                "exclusive_s_per_day": one.exclusive_s_per_day,
                "tunnel_s_per_day": one.tunnel_s_per_day,
                "tunnel_mb": one.tunnel_mb,
            }
            for code, one in costs.items()
        },
        "accounts": {
            use.account.key: {
                "sessions": use.account.sessions,
                "at_once": use.at_once,
                "session_s_per_day": use.session_s_per_day,
                "logins_per_minute": use.logins_per_minute,
            }
            for use in uses
        },
        "sources": {
            "bad": bad,
            "unmatched": list(applied.roster.unmatched),
            "left_out": list(applied.roster.second),
        },
        "refused": applied.refused,
        "shrunk": applied.shrunk,
        "notices": notes,
    }
