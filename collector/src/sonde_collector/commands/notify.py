"""`notify`: the channels of notices, and whether they work."""

import argparse
import asyncio
import datetime as dt
import secrets
from typing import Any

from sonde_collector.commands.output import complain, say, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import open_database
from sonde_collector.inventory.model import Notify
from sonde_collector.notify.answers import Outcome
from sonde_collector.notify.event import Event, Notice
from sonde_collector.notify.outbox import read_channels
from sonde_collector.notify.send import send
from sonde_collector.read import notices as read

_HEADERS = ("channel", "kind", "last sent", "waiting", "silenced", "given up (1 d)", "going on", "last error")


def register(commands: Subparsers) -> None:
    """Add the parsers."""
    parser = add(
        commands, "notify", ls, "the channels of notices: what was sent, what waits, what failed",
        examples=(
            "sonde-collector notify ls",
            "sonde-collector notify test           a test message through every channel",
            "sonde-collector notify test ops       through one",
        ),
        detail=(
            "Channels are [[notify]] tables of the fleet file; their secrets are files on the collectors' "
            "hosts, so a test says something only on such a host."
        ),
    )  # fmt: skip
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")
    add(
        actions, "ls", ls, "list the channels",
        examples=("sonde-collector notify ls --json | jq '.[] | select(.waiting > 0)'",),
    )  # fmt: skip
    one = add(
        actions, "test", test, "send a test message and show what each channel answered",
        examples=("sonde-collector notify test", "sonde-collector notify test ops --json"),
    )  # fmt: skip
    one.add_argument("keys", nargs="*", metavar="KEY", help="a channel, as `notify ls` lists it; else all")


def ls(config: CollectorConfig, args: argparse.Namespace) -> int:
    """List the channels."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        rows = read.channels(conn)
    if args.json:
        say_json(rows)
    elif rows:
        say_table(_HEADERS, [_row(row) for row in rows])
    else:
        say("no channel yet: add [[notify]] to the fleet file and run `sonde-collector apply`")
    return 0


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    sent = f"{row['last_sent_at']:%Y-%m-%d %H:%M:%S}" if row["last_sent_at"] else "never"
    failed = row["last_error_at"] and f"{row['last_error_at']:%Y-%m-%d %H:%M:%S}: {row['last_error']}"
    counts = (row["waiting"], row["silenced"], row["failed_last_day"], row["firing"])
    name = row["key"] if row["is_active"] else f"{row['key']} (gone)"
    return (name, row["kind"], sent, *map(str, counts), failed or "")


def test(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Send a test message through channels."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        channels, identity = read_channels(conn), read.database_id(conn)
    unknown = [key for key in args.keys if key not in channels]
    for key in unknown:
        complain(f'sonde-collector: "{key}" is no channel: `sonde-collector notify ls` lists them')
    chosen = [channels[key] for key in args.keys or channels if key in channels]
    if not chosen and not unknown:
        complain("sonde-collector: no channel yet: add [[notify]] to the fleet file and run apply")
        return 1
    outcomes = asyncio.run(_send_all(chosen, identity))
    good = [outcome.action == "sent" for outcome in outcomes]
    if args.json:
        say_json(
            [
                {"channel": channel.key, "kind": channel.kind, "ok": ok, "answer": outcome.said}
                for channel, outcome, ok in zip(chosen, outcomes, good, strict=True)
            ]
        )
    else:
        for channel, outcome, ok in zip(chosen, outcomes, good, strict=True):
            say(f"{channel.key} ({channel.kind}): {'sent' if ok else 'FAILED'}: {outcome.said}")
    return 0 if all(good) and not unknown else 1


async def _send_all(channels: list[Notify], database: str) -> list[Outcome]:
    return list(await asyncio.gather(*(_send_one(channel, database) for channel in channels)))


async def _send_one(channel: Notify, database: str) -> Outcome:
    event = Event(
        id=-secrets.randbelow(1 << 53)
        - 1,  # of no row; another at each test, so that none is taken for a repeat
        at=dt.datetime.now(dt.UTC),
        kind="test",
        subject=channel.key,
        detail=f'A test of channel "{channel.key}" by `sonde-collector notify test`: notices come here.',
        severity="info",
    )
    return await send(channel, [Notice(event)], database)
