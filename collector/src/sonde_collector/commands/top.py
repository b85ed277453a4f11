"""`top`: servers and targets ranked by the last minutes, live on a terminal."""

import argparse
import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg
from rich.console import Group
from rich.live import Live

from sonde_collector.commands.output import ago, number, plain_table, rich_table, say, say_json
from sonde_collector.commands.parsers import Subparsers, add, positive
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import open_database
from sonde_collector.read import status as read

_WINDOW_S = 300.0
_ROWS = 50

Ranking = dict[str, list[dict[str, Any]]]
Column = tuple[str, Callable[[dict[str, Any]], str]]


def register(commands: Subparsers) -> None:
    """Add the parser."""
    parser = add(
        commands, "top", run, "servers and targets ranked by the last minutes, live",
        examples=(
            "sonde-collector top    until Ctrl-C on a terminal, else once",
            "sonde-collector top --seconds 30    for half a minute",
            "sonde-collector top --once --window 3600    the last hour, once",
        ),
    )  # fmt: skip
    parser.add_argument("--seconds", type=positive, metavar="N", help="stop after N seconds")
    parser.add_argument("--once", action="store_true", help="show once and end")
    parser.add_argument(
        "--window",
        type=positive,
        metavar="N",
        default=_WINDOW_S,
        help="rank by the last N seconds (default 300)",
    )
    parser.add_argument(
        "--every", type=positive, metavar="N", default=2.0, help="refresh every N seconds (default 2)"
    )


def run(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Show the ranking, again and again on a terminal."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        if sys.stdout.isatty() and not args.once and not args.json:
            _live(conn, args)
        else:
            _plain(conn, args)
    return 0


class _Pace:
    """Waits between looks until the time asked for is over."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._every = args.every
        self._ends = time.monotonic() + args.seconds if args.seconds else float("inf")

    def more(self) -> bool:
        """Wait; tell whether to look once more."""
        time.sleep(max(0.0, min(self._every, self._ends - time.monotonic())))
        return time.monotonic() < self._ends


def _look(conn: psycopg.Connection, args: argparse.Namespace) -> Ranking:
    return read.top(conn, seconds=args.window, limit=_ROWS)


def _live(conn: psycopg.Connection, args: argparse.Namespace) -> None:
    pace = _Pace(args)
    with Live(_screen(_look(conn, args)), auto_refresh=False) as screen:
        while pace.more():
            screen.update(_screen(_look(conn, args)), refresh=True)


def _plain(conn: psycopg.Connection, args: argparse.Namespace) -> None:
    pace = _Pace(args)
    while True:
        now = _look(conn, args)
        if args.json:
            say_json(now)
        else:
            for title, headers, rows in _tables(now):
                for line in plain_table(headers, rows, title=title):
                    say(line)
                say()
        sys.stdout.flush()
        # Without a terminal and without --seconds, once: a pipe has an end.
        if args.once or not args.seconds or not pace.more():
            return


def _screen(now: Ranking) -> Group:
    return Group(*(rich_table(headers, rows, title=title) for title, headers, rows in _tables(now)))


_SERVERS: tuple[Column, ...] = (
    ("server", lambda row: row["server"]),
    ("provider", lambda row: row["provider"]),
    ("where", lambda row: f"{row['city']}, {row['country']}"),
    ("protocol", lambda row: row["protocols"] or "direct"),
    ("up %", lambda row: number(row["up_pct"], 1)),
    ("down Mbit/s", lambda row: number(row["download_mbps"], 1)),
    ("up Mbit/s", lambda row: number(row["upload_mbps"], 1)),
    ("connect ms", lambda row: number(row["connection_time_ms"], 1)),
    ("ping ms", lambda row: number(row["ping_ms"], 3)),
    ("jitter ms", lambda row: number(row["jitter_ms"], 3)),
    ("loss %", lambda row: number(row["loss_pct"], 1)),
    ("runs", lambda row: str(row["runs"])),
    ("vantages", lambda row: str(row["vantages"])),
    ("last", lambda row: f"{ago(row['age_s'])} ago"),
)
_TARGETS: tuple[Column, ...] = (
    ("target", lambda row: row["target"]),
    ("kind", lambda row: row["kind"]),
    ("address", lambda row: row["address"]),
    ("total ms", lambda row: number(row["total_ms"], 2)),
    ("first byte ms", lambda row: number(row["first_byte_ms"], 2)),
    ("ok %", lambda row: number(row["ok_pct"], 1)),
    ("last failure", lambda row: row["last_failure"] or ""),
    ("runs", lambda row: str(row["runs"])),
    ("vantages", lambda row: str(row["vantages"])),
    ("last", lambda row: f"{ago(row['age_s'])} ago"),
)


def _tables(now: Ranking) -> list[tuple[str, list[str], list[list[str]]]]:
    return [
        (title, [name for name, _ in columns], [[cell(row) for _, cell in columns] for row in now[key]])
        for title, key, columns in (
            ("Servers by uptime, speed and ping", "servers", _SERVERS),
            ("Targets", "targets", _TARGETS),
        )
    ]
