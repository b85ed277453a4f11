"""`query`: one read-only query over database and archive together, by DuckDB."""

import argparse
import contextlib
import datetime as dt
import re
import sys
from typing import Any

from sonde_collector.commands.output import complain, plain, say, say_json
from sonde_collector.commands.parsers import Subparsers, add, positive
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import open_database
from sonde_collector.read import adhoc


def register(commands: Subparsers) -> None:
    """Add the parser."""
    parser = add(
        commands, "query", run, "run one read-only query over database and archive together",
        examples=(
            'sonde-collector query "SELECT count(*), min(measured_at) FROM performance_logs"',
            'sonde-collector query "SELECT server_id, median(ping_ms) FROM performance_logs GROUP BY 1"',
            "sonde-collector query - < query.sql",
        ),
        detail=(
            "The query is DuckDB's SQL; tables have the names that they have in PostgreSQL, and hold "
            "what has been archived too. A condition on the time decides which files and days are read. "
            "Columns of types that DuckDB does not share (JSONB, UUID ...) are text. Output as that of "
            "`sonde-collector sql`. The query can't write, and sees no file of this host."
        ),
    )  # fmt: skip
    parser.add_argument("query", metavar="QUERY", help='the query; "-" reads it from standard input')
    parser.add_argument(
        "--header", action=argparse.BooleanOptionalAction, default=None,
        help="a line of column names first, or none (default: on a terminal alone)",
    )  # fmt: skip
    parser.add_argument(
        "--timeout",
        type=positive,
        default=60.0,
        metavar="SECONDS",
        help="it is ended after this (default 60)",
    )
    parser.add_argument(
        "--memory", type=_memory, default="1GB", metavar="SIZE", help="most that it takes (default 1GB)"
    )


def _memory(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,5}[KMGT]i?B", text):
        raise argparse.ArgumentTypeError(f'must be a size such as "512MB" or "4GB", not "{text}"')
    return text


def run(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Run the query."""
    # They take 100 MB, and `serve` reads this file too.
    from sonde_collector.archive import engine, storage, tiers  # noqa: PLC0415

    statement = sys.stdin.read() if args.query == "-" else args.query
    header = sys.stdout.isatty() if args.header is None else args.header
    try:
        with (
            open_database(config.database.url, config.state_dir) as database,
            tiers.snapshot(database, storage.open_storage(config), args.timeout) as found,
            # Closed here: a reader that goes away (head) would else leave the connections held.
            contextlib.closing(
                engine.run(found, statement, memory=args.memory, timeout_s=args.timeout)
            ) as answer,
        ):
            columns = next(answer)
            if not args.json and header:
                say(adhoc.line(columns))
            if args.json and (twice := [name for name in columns if columns.count(name) > 1]):
                complain(
                    f'sonde-collector: two columns are named "{twice[0]}", and an object holds one: '
                    "name them with AS"
                )
                return 1
            for row in answer:
                if args.json:
                    say_json(dict(zip(columns, row, strict=True)))
                else:
                    say(adhoc.line([_text(value) for value in row]))
    except (engine.EngineError, storage.StorageError) as error:
        sys.stdout.flush()
        complain(f"sonde-collector: {error}")
        return 1
    return 0


def _text(value: Any) -> str | None:
    """A value as `sonde-collector sql` writes it. **Pure.**"""
    if value is None:
        return None
    if isinstance(value, bool):
        return "t" if value else "f"
    if isinstance(value, dt.datetime):
        text = re.sub(r"(\.\d*?)0+(?=[+-])", r"\1", value.isoformat(" "))
        return re.sub(r"([+-]\d\d):00$", r"\1", text)
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, bytes):
        return "\\x" + str(plain(value))
    return str(value)
