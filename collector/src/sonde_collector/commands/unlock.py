"""`unlock`: which server opens which platform by the newest checks, and whether the rules are well."""

import argparse
from collections.abc import Callable
from typing import Any

from sonde_collector.commands.output import ago, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add, positive
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import open_database
from sonde_collector.read import unlock as read

_DAY_S = 86_400
Column = tuple[str, Callable[[dict[str, Any]], str]]


def register(commands: Subparsers) -> None:
    """Add the parser."""
    parser = add(
        commands, "unlock", run, "which server opens which streaming platform",
        examples=(
            "sonde-collector unlock    the newest check of every server and platform",
            "sonde-collector unlock --platform netflix",
            "sonde-collector unlock --server 'acme-gb-*' --days 1 --json",
        ),
        detail=(
            "A verdict is of one exit, family and protocol, and says what was asked, not that it plays. "
            "At fault is the exit where canaries of the same rule are well, and the rule where it does not "
            "know its platform any more. Checks of voided rules, of unfit vantages, and those that could not "
            "be made are left out."
        ),
    )  # fmt: skip
    parser.add_argument("--platform", metavar="SLUG", help="only this platform, such as netflix")
    parser.add_argument(
        "--server", metavar="PATTERN", help="only these servers: a key, * and ? stand for any"
    )
    parser.add_argument(
        "--days", type=positive, default=7.0, metavar="N", help="checks of the last N days (default 7)"
    )


def run(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Show the matrix."""
    asked = {"server": args.server, "platform": args.platform, "max_age_s": args.days * _DAY_S}
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        checks = read.matrix(conn, asked)
        rules = [row for row in read.rules(conn) if args.platform in (None, row["platform"])]
    if args.json:
        say_json(
            {
                "checks": [{name: value for name, value in row.items() if name[0] != "_"} for row in checks],
                "rules": rules,
            }
        )
        return 0
    _say("", _CHECKS, checks)
    if rules:
        _say("\nRules by their canaries", _RULES, rules)
    return 0


def _say(title: str, columns: tuple[Column, ...], rows: list[dict[str, Any]]) -> None:
    cells = [[cell(row) for _, cell in columns] for row in rows]
    say_table([name for name, _ in columns], cells, title=title)


def _verdict(row: dict[str, Any]) -> str:
    said = row["verdict"] or ("unlocked" if row["is_unlocked"] else "locked")
    return f"{said} ({row['scope']})" if row["scope"] else str(said)


def _word(name: str) -> Column:
    return name, lambda row: "-" if row[name] is None else str(row[name])


_CHECKS: tuple[Column, ...] = (
    _word("server"),
    _word("platform"),
    ("verdict", _verdict),
    _word("region"),
    _word("via"),
    ("IP", lambda row: f"v{row['family']}" if row["family"] else "-"),
    _word("protocol"),
    _word("vantage"),
    ("last", lambda row: f"{ago(row['age_s'])} ago"),
    ("at fault", lambda row: row["cause"] or ""),
    ("because", lambda row: row["detail"] or ""),
)
_RULES: tuple[Column, ...] = (
    _word("platform"),
    _word("version"),
    _word("state"),
    ("vantages", lambda row: str(row["vantages"])),
    ("doubting", lambda row: str(row["doubting"])),
    ("last", lambda row: f"{ago(row['age_s'])} ago"),
)
