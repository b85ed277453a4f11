"""`health`: how servers, targets and origin groups are doing, and what became of providers held."""

import argparse
import datetime as dt
from typing import Any

from sonde_collector.commands.output import ago, complain, say, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import open_database
from sonde_collector.health import hold_judge
from sonde_collector.read import health as read

_STATES = ("HEALTHY", "DEGRADED", "UNHEALTHY", "UNKNOWN")
_OBJECTS = ("server", "target", "origin_group")
_HISTORY = 20


def register(commands: Subparsers) -> None:
    """Add the parsers."""
    detail = (
        "A server is judged by its handshakes, a target by its checks, from all vantages that are fit to "
        "judge. Thresholds stand in the [health] tables of the fleet file."
    )
    parser = add(
        commands, "health", ls, "how servers, targets and origin groups are doing",
        examples=(
            "sonde-collector health",
            "sonde-collector health ls --state UNHEALTHY --json",
            "sonde-collector health show acme-nl-1        what each vantage says, and the last changes",
            "sonde-collector health judge acme ours       all its servers failed at once: it had shut us out",
        ),
        detail=detail,
    )  # fmt: skip
    parser.set_defaults(state=None, object=None)
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")
    listing = add(
        actions, "ls", ls, "list the states, the worst first",
        examples=("sonde-collector health ls --object target", "sonde-collector health ls --state DEGRADED"),
    )  # fmt: skip
    listing.add_argument("--state", choices=_STATES, type=str.upper, help="only these")
    listing.add_argument("--object", choices=_OBJECTS, help="only these")
    one = add(
        actions, "show", show, "show one: what each vantage says, and the last changes",
        examples=("sonde-collector health show acme-nl-1", "sonde-collector health show site --json"),
    )  # fmt: skip
    one.add_argument("key", metavar="KEY", help="its key in the fleet file")
    verdict = add(
        actions, "judge", judge, "say why all servers of a provider failed at once",
        examples=("sonde-collector health judge acme down", "sonde-collector health judge acme ours"),
        detail=(
            "down: the provider was away; what failed enters uptime, and the states follow. "
            "ours: it had shut us out (an account, our addresses); what failed never counts. "
            "Judged is the stretch that waits for it, else the newest."
        ),
    )  # fmt: skip
    verdict.add_argument("provider", metavar="PROVIDER", help="key of the provider")
    verdict.add_argument("verdict", choices=("down", "ours"))


def ls(config: CollectorConfig, args: argparse.Namespace) -> int:
    """List the states."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        rows = read.states(conn, kind=args.object, state=args.state)
        holds = read.holds(conn)
    if args.json:
        say_json({"states": rows, "holds": holds})
        return 0
    for hold in holds:
        say(_hold(hold))
    if rows:
        say_table(("object", "key", "state", "for", "why"), [_row(row) for row in rows])
    elif args.state or args.object:
        say("none")
    else:
        say("nothing is judged yet: `sonde-collector serve` does it once results come in")
    return 0


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    marks = "".join(f" ({mark})" for mark in ("flapping", "held") if row[mark])
    return row["object"], row["key"], row["state"] + marks, ago(_age_s(row["since"])), row["reason"]


def _age_s(at: dt.datetime) -> float:
    return (dt.datetime.now(dt.UTC) - at).total_seconds()


def _hold(hold: dict[str, Any]) -> str:
    provider, count = hold["provider"], len(hold["servers"])
    since = f"since {hold['since']:%Y-%m-%d %H:%M}"
    if hold["ended_at"] is not None:
        since = f"from {hold['since']:%Y-%m-%d %H:%M} to {hold['ended_at']:%H:%M}"
    what = f"provider {provider}: all servers failed at once {since} ({count})"
    if hold["verdict"] is not None:
        return f"{what}; judged: {hold['verdict']}"
    return f"{what}; say why: sonde-collector health judge {provider} down|ours"


def show(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Show one."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        found = read.show(conn, args.key, _HISTORY)
    if not found:
        complain(
            f'sonde-collector: "{args.key}" is no server, target or origin group that is judged: '
            "`sonde-collector health ls` lists them"
        )
        return 1
    if args.json:
        say_json(found)
        return 0
    for one in found:
        _say_one(one)
    return 0


def _say_one(one: dict[str, Any]) -> None:
    _, key, state, since, why = _row(one)
    say(f"{one['object']} {key}: {state} for {since}{': ' + why if why else ''}")
    if one["object"] == "origin_group":
        for member, at in one["data"]["members"].items():
            active = " (active)" if member == one["data"]["active"] else ""
            say(f"  {member}: {at['state']}{active}")
    elif one["data"]["vantages"]:
        rows = [
            (code, said["says"], ", ".join(f"{name} {word}" for name, word in said["by"].items()))
            for code, said in one["data"]["vantages"].items()
        ]
        say_table(("vantage", "says", "by"), rows)
    if one["history"]:
        rows = [
            (
                f"{change['at']:%Y-%m-%d %H:%M:%S}",
                f"{change['from_state']} → {change['to_state']}",
                change["reason"],
            )
            for change in one["history"]
        ]
        say_table(("at", "change", "why"), rows)


def judge(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Judge a held provider."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        try:
            done = hold_judge.judge(conn, args.provider, args.verdict)
        except hold_judge.NotHeld as error:
            complain(f"sonde-collector: {error}")
            return 1
    if args.json:
        say_json(
            {"provider": args.provider, "verdict": args.verdict, "results": done.results, "ended": done.ended}
        )
    elif done.again:
        say(f"provider {args.provider} was judged so before")
    elif args.verdict == "down":
        say(f"provider {args.provider} was down: {done.results} held results count now")
    else:
        on = "" if done.ended else "; its servers keep their states until they answer again"
        say(f"provider {args.provider} shut us out: what failed does not count{on}")
    return 0
