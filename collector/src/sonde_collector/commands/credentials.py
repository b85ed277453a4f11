"""`credentials`: the accounts of the fleet, what of them is in use, and which their providers refuse."""

import argparse
from typing import Any

from sonde_collector.commands.output import complain, number, say, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig
from sonde_collector.control import lease_book
from sonde_collector.db.pool import open_database
from sonde_collector.read import status as read

_HEADERS = (
    "credential",
    "provider",
    "state",
    "sessions",
    "in use",
    "logins/min",
    "last connected",
    "turned away by",
)


def register(commands: Subparsers) -> None:
    """Add the parsers."""
    parser = add(
        commands, "credentials", credentials, "accounts at providers: sessions in use, and which are refused",
        examples=(
            "sonde-collector credentials",
            "sonde-collector credentials --json | jq '.[] | select(.state == \"refused\")'",
            "sonde-collector credentials resume acme    try an account again once it is paid for",
        ),
        detail=(
            "An account that three servers in a row turn away is refused: its runs wait, and what failed "
            "meanwhile counts against no server. It is tried again once it is resumed, or once its settings "
            "in the fleet file change."
        ),
    )  # fmt: skip
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")
    again = add(
        actions, "resume", resume, "try refused accounts again",
        examples=("sonde-collector credentials resume acme",), json=False,
    )  # fmt: skip
    again.add_argument("names", nargs="+", metavar="NAME", help="a credential, as `credentials` lists it")


def credentials(config: CollectorConfig, args: argparse.Namespace) -> int:
    """List the accounts."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        rows = read.credentials(conn)
    if args.json:
        say_json(rows)
        return 0
    if not rows:
        say("no account yet: add [[provider.account]] to the fleet file and run `sonde-collector apply`")
        return 0
    say_table(_HEADERS, [_row(row) for row in rows])
    return 0


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    refused = f"refused since {row['refused_at']:%Y-%m-%d %H:%M}" if row["refused_at"] else row["state"]
    used = f"{row['in_use']} ({', '.join(row['vantages'])})" if row["in_use"] else "0"
    connected = f"{row['connected_at']:%Y-%m-%d %H:%M}" if row["connected_at"] else "never"
    return (
        row["credential"],
        row["provider"],
        refused,
        str(row["sessions"]),
        used,
        number(row["logins_per_minute"]),
        connected,
        ", ".join(row["turned_away_by"]),
    )


def resume(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Try accounts again."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        resumed, unknown = lease_book.resume(conn, args.names)
    for name in args.names:
        if name in unknown:
            complain(
                f'sonde-collector: "{name}" is no credential of the fleet: '
                "`sonde-collector credentials` lists them"
            )
        else:
            say(f"{name} is tried again" if name in resumed else f"{name} was not refused")
    return 1 if unknown else 0
