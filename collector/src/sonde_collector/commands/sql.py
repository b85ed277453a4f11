"""`sql`: one read-only query, for people and scripts; `sql --dsn` for every other client."""

import argparse
import contextlib
import sys

from sonde_collector.commands.output import complain, say, say_json
from sonde_collector.commands.parsers import Subparsers, add, positive
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import open_database
from sonde_collector.read import adhoc


def register(commands: Subparsers) -> None:
    """Add the parser."""
    parser = add(
        commands,
        "sql",
        run,
        "run one read-only query",
        examples=(
            'sonde-collector sql "SELECT * FROM performance_logs ORDER BY measured_at DESC LIMIT 5"',
            "sonde-collector sql - < query.sql",
            'psql "$(sonde-collector sql --dsn)"',
        ),
        detail=(
            "Writes one line a row, tab-separated, under a line of column names on a terminal or with "
            "--header. NULL is \\N; a tab, newline or backslash in a value is \\t, \\n, \\\\ (as "
            "PostgreSQL's COPY). With --json, one object a line. It works while the collector runs and when "
            "it does not. An embedded database that nobody else uses lives only as long as this command: a "
            "--dsn URL works while the collector runs."
        ),
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("query", nargs="?", metavar="QUERY", help='the query; "-" reads it from standard input')
    what.add_argument(
        "--dsn", action="store_true", help="print the connection URL for other clients, password and all"
    )
    parser.add_argument(
        "--header",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="a line of column names first, or none (default: on a terminal alone)",
    )
    parser.add_argument(
        "--timeout",
        type=positive,
        default=60.0,
        metavar="SECONDS",
        help="the server ends it after this (default 60)",
    )


def _wants_header(asked: bool | None) -> bool:  # noqa: FBT001  # --header, --no-header, or neither
    return sys.stdout.isatty() if asked is None else asked


def run(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Run the query, or print the URL."""
    with open_database(config.database.url, config.state_dir, check_schema=False) as database:
        if args.dsn:
            say_json({"dsn": database.url}) if args.json else say(database.url)
            return 0
        statement = sys.stdin.read() if args.query == "-" else args.query
        with database.connect() as conn:
            try:
                columns, rows = adhoc.run(conn, statement, timeout_s=args.timeout, native=args.json)
                if not args.json and _wants_header(args.header):
                    say(adhoc.line(columns))
                # Closed here: a reader that goes away (head) would else leave the connection held.
                with contextlib.closing(rows):
                    for row in rows:
                        if args.json:
                            say_json(dict(zip(columns, row, strict=True)))
                        else:
                            say(adhoc.line(row))
            except adhoc.QueryError as error:
                sys.stdout.flush()
                complain(f"sonde-collector: {error}")
                return 1
    return 0
