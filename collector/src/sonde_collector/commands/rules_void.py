"""`rules void`, `unvoid` and `voided`: versions of rules that judged wrongly."""

import argparse
import sys

from sonde_collector.commands.output import complain, say, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import open_database
from sonde_collector.unlock import voiding

_LONGEST_REASON = 500
_LONGEST_NAME = 60
_HEADERS = ("platform", "version", "voided (UTC)", "reason")


def register(actions: Subparsers) -> None:
    """Add the parsers."""
    one = add(
        actions, "void", void, "take a version of a rule back: what it said no longer counts",
        examples=(
            "sonde-collector rules void netflix 2026-11-21 --reason 'its page says so everywhere'",
        ),
        detail=(
            "Its checks stay in the database, and leave everything that reads: no platform is unlocked "
            "because of them, also of checks that come later. `rules unvoid` undoes it."
        ),
    )  # fmt: skip
    _version(one)
    one.add_argument("--reason", required=True, help="for those who find it")
    one.add_argument("--yes", action="store_true", help="do not ask")
    back = add(
        actions, "unvoid", unvoid, "let a version of a rule count again",
        examples=("sonde-collector rules unvoid netflix 2026-11-21",),
    )  # fmt: skip
    _version(back)
    add(
        actions, "voided", voided, "list the versions that were taken back",
        examples=("sonde-collector rules voided --json | jq '.[].platform'",),
    )  # fmt: skip


def _version(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("slug", type=_name, metavar="SLUG", help="of the platform")
    parser.add_argument("version", type=_name, metavar="VERSION", help="of the rule, as its results name it")


def _name(text: str) -> str:
    if not text or len(text) > _LONGEST_NAME or not text.isprintable():
        raise argparse.ArgumentTypeError(f"must be 1 to {_LONGEST_NAME} printable characters")
    return text


def void(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Void a version."""
    reason = args.reason.strip()
    if not reason or len(reason) > _LONGEST_REASON or not reason.isprintable():
        complain(f"sonde-collector: --reason must be 1 to {_LONGEST_REASON} printable characters")
        return 2
    if not args.yes and not _sure(f"Void {args.slug} {args.version}? All that it said no longer counts."):
        return 2
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        try:
            checks = voiding.void(conn, args.slug, args.version, reason)
        except voiding.UnknownPlatform as error:
            return _refuse(error)
    if args.json:
        say_json({"platform": args.slug, "version": args.version, "changed": checks})
    else:
        say(f"{args.slug} {args.version} is void: {checks} check(s) said unlocked until now")
    return 0


def _sure(question: str) -> bool:
    """Ask on a terminal; elsewhere nobody can answer."""
    if not sys.stdin.isatty():
        complain("sonde-collector: nobody can be asked here: say --yes")
        return False
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    complain("sonde-collector: nothing was changed")
    return False


def unvoid(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Let a version count again."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        try:
            checks = voiding.unvoid(conn, args.slug, args.version)
        except voiding.UnknownPlatform as error:
            return _refuse(error)
    if args.json:
        say_json({"platform": args.slug, "version": args.version, "changed": checks})
    else:
        say(f"{args.slug} {args.version} counts: {checks} check(s) say unlocked again")
    return 0


def voided(config: CollectorConfig, args: argparse.Namespace) -> int:
    """List what is voided."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        found = voiding.voided(conn)
    if args.json:
        say_json(found)
    elif found:
        times = [f"{row['voided_at']:%Y-%m-%d %H:%M}" for row in found]
        rows = [
            (row["platform"], row["version"], at, row["reason"]) for row, at in zip(found, times, strict=True)
        ]
        say_table(_HEADERS, rows)
    else:
        say("no version of a rule is void")
    return 0


def _refuse(error: Exception) -> int:
    complain(f"sonde-collector: {error.args[0]}")
    return 1
