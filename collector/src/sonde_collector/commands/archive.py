"""`archive`: what has left the database, whether it is whole, and how it comes back."""

import argparse
from collections.abc import Mapping
from typing import Any

from sonde_collector.archive.ledger import Record, described, records
from sonde_collector.commands.output import complain, say, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig

# What reads and writes Parquet is imported where it is used: it takes 60 MB, and `serve` reads this file too.

_HEADERS = ("partition", "state", "rows", "from", "until", "bytes", "of hot", "file")


def register(commands: Subparsers) -> None:
    """Add the parsers."""
    parser = add(
        commands, "archive", ls, "partitions that have left the database",
        examples=(
            "sonde-collector archive ls",
            "sonde-collector archive verify",
            "sonde-collector archive restore performance_logs_2026_01",
            "sonde-collector archive run    what is due, now",
        ),
        detail=(
            "The collector does what is due by itself. A partition that is past its retention becomes a "
            "Parquet file, which is read back and compared before the partition is dropped; "
            "`sonde-collector query` reads files and tables as one."
        ),
    )  # fmt: skip
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")
    add(
        actions, "ls", ls, "list partitions that have left, or are about to",
        examples=("sonde-collector archive ls", "sonde-collector archive ls --json | jq '.[].file'"),
    )  # fmt: skip
    check = add(
        actions, "verify", verify, "read files whole and compare them with what once left",
        examples=("sonde-collector archive verify performance_logs_2026_01",),
        detail="Compares bytes (SHA-256), rows, and every value. Exit code 1 where anything differs.",
    )  # fmt: skip
    check.add_argument(
        "names", nargs="*", metavar="NAME", help="a partition, as `archive ls` names it (default: all)"
    )
    back = add(
        actions, "restore", restore, "load partitions back from their files",
        examples=("sonde-collector archive restore performance_logs_2026_01",),
        detail="All rows, exactly, or none. It then stays until `archive run NAME` lets it leave again.",
    )  # fmt: skip
    back.add_argument("names", nargs="+", metavar="NAME", help="a partition, as `archive ls` names it")
    now = add(
        actions, "run", run, "archive what is due, now",
        examples=("sonde-collector archive run", "sonde-collector archive run performance_logs_2026_01"),
    )  # fmt: skip
    now.add_argument("names", nargs="*", metavar="NAME", help="a restored partition that may leave again")


def ls(config: CollectorConfig, args: argparse.Namespace) -> int:
    """List them."""
    from sonde_collector.archive import desk  # noqa: PLC0415

    with desk.connected(config) as (_, conn):
        found = records(conn)
    if args.json:
        say_json([described(record) for record in found])
    elif not found:
        say("nothing has left the database yet")
    else:
        say_table(_HEADERS, [_row(record) for record in found])
    return 0


def _row(record: Record) -> tuple[str, ...]:
    share = f"{record.bytes / record.hot_bytes:.3f}" if record.bytes and record.hot_bytes else "-"
    return (
        record.name,
        record.state,
        "-" if record.rows is None else str(record.rows),
        f"{record.lo:%Y-%m-%d}",
        f"{record.hi:%Y-%m-%d}",
        "-" if record.bytes is None else str(record.bytes),
        share,
        record.file or "-",
    )


def verify(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Read files and compare."""
    from sonde_collector.archive import desk  # noqa: PLC0415

    with desk.connected(config) as (_, conn):
        try:
            found = desk.verifiable(conn, args.names)
        except desk.Unknown as error:
            return _refuse(error)
        wrong: dict[str, str | None] = {}
        for record in found:
            wrong[record.name] = why = desk.verify(config, conn, record)
            if not args.json:
                say(
                    f"{record.name}: {record.rows} rows, as they left"
                    if why is None
                    else f"{record.name}: BAD: {why}"
                )
    if args.json:
        say_json([{"name": name, "good": why is None, "problem": why} for name, why in wrong.items()])
    elif not wrong:
        say("nothing has been archived yet")
    return 1 if any(wrong.values()) else 0


def restore(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Load partitions back."""
    from sonde_collector.archive import desk, file  # noqa: PLC0415
    from sonde_collector.archive.restore import NotRestored  # noqa: PLC0415

    done: list[Mapping[str, Any]] = []
    with desk.connected(config) as (_, conn):
        try:
            for record in desk.picked(conn, args.names, ("archived",)):
                done.append({"name": record.name, "rows": desk.bring_back(config, conn, record)})
                if not args.json:
                    say(f"{record.name}: {done[-1]['rows']} rows are back")
        except (desk.Unknown, file.Mismatch, NotRestored) as error:
            return _refuse(error)
    if args.json:
        say_json(done)
    return 0


def run(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Archive what is due."""
    from sonde_collector.archive import desk  # noqa: PLC0415
    from sonde_collector.archive.storage import StorageError  # noqa: PLC0415

    def tell(name: str, state: str) -> None:
        if not args.json:
            say(f"{name}: {state}")

    with desk.connected(config) as (database, conn):
        try:
            if args.names:
                desk.picked(conn, args.names, ("restored",))
            done = desk.run(config, database, args.names, tell)
        except (desk.Unknown, StorageError) as error:
            return _refuse(error)
    if args.json:
        say_json({"leading": done.leading, "done": done.done, "waiting": done.waiting, "wrong": done.wrong})
    elif not done.leading:
        say("a collector is archiving already")
    else:
        for name, why in done.waiting.items():
            say(f"{name}: not now: {why}")
        for name, why in done.wrong.items():
            complain(f"sonde-collector: {name}: {why}")
        if not (done.done or done.waiting or done.wrong):
            say("nothing is due")
    return 1 if done.wrong else 0


def _refuse(error: Exception) -> int:
    complain(f"sonde-collector: {error}")
    return 1
