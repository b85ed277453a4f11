"""`agents pause` and `resume`: vantages that measure nothing for a while."""

import argparse

from sonde_collector.commands.output import complain, say, say_json
from sonde_collector.commands.parsers import Subparsers, add, duration, printable
from sonde_collector.config import CollectorConfig
from sonde_collector.control import asking
from sonde_collector.db.pool import open_database

_LONGEST_S = 365 * 86_400.0
_VANTAGES = 'codes, with * and ?; "all" = every active vantage'


def register(actions: Subparsers) -> None:
    """Add the parsers under `agents`."""
    stop = add(
        actions, "pause", pause, "have agents measure nothing for a while",
        detail=(
            "They stay connected and deliver what they have; what runs ends. The slots that pass become one "
            "row of missed_runs, paused. It is part of the assignment, so it holds over a restart of the "
            "agent and while no collector is there. A paused vantage may be silent, and nobody is told."
        ),
        examples=(
            "sonde-collector agents pause ams1 --for 2h --reason 'new uplink'",
            "sonde-collector agents pause 'eu-*'",
            "sonde-collector agents pause all --for 15m --reason 'the provider asked'",
        ),
    )  # fmt: skip
    stop.add_argument("vantages", nargs="+", metavar="VANTAGE", help=_VANTAGES)
    stop.add_argument(
        "--for", dest="for_s", type=duration(1, _LONGEST_S), metavar="DURATION",
        help='such as "2h"; left out: until they are resumed',
    )  # fmt: skip
    stop.add_argument("--reason", type=printable, metavar="TEXT", help="for those who find it")
    go = add(
        actions, "resume", resume, "have paused agents measure again",
        examples=("sonde-collector agents resume ams1", "sonde-collector agents resume all"),
    )  # fmt: skip
    go.add_argument("vantages", nargs="+", metavar="VANTAGE", help=_VANTAGES)


def pause(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Pause vantages."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        codes = asking.vantages(conn, args.vantages)
        paused = asking.pause(conn, codes, args.for_s, args.reason or "")
    if args.json:
        say_json([{"vantage": one.vantage, "until": one.until, "hears": one.hears} for one in paused])
        return 0
    for one in paused:
        until = "until it is resumed" if one.until is None else f"until {one.until:%Y-%m-%d %H:%M} UTC"
        say(f"{one.vantage} is paused {until}")
        if one.hears is False:
            complain(f"sonde-collector: the agent at {one.vantage} is too old to hear of it, and measures on")
    return 0


def resume(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Resume vantages."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        codes = asking.vantages(conn, args.vantages)
        resumed = asking.resume(conn, codes)
    if args.json:
        say_json(resumed)
    elif resumed:
        say(f"{', '.join(resumed)}: measuring again")
    else:
        complain(f"sonde-collector: not paused: {', '.join(codes)}")
    return 0 if resumed else 1
