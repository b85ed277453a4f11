"""`silence`: what is not told for a while; and planned work, which does not count for uptime either."""

import argparse
import datetime as dt
import re
from collections.abc import Sequence
from typing import Any

from sonde_collector.commands.output import complain, say, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import Database, open_database
from sonde_collector.db.queries import query
from sonde_collector.inventory.model.maintenance import moment, simple_glob
from sonde_collector.read import notices as read
from sonde_proto.toml_config import ConfigError
from sonde_proto.units import parse_duration

_SILENCE = {"subject": "subjects", "object": "objects", "kind": "kinds", "vantage": "vantages"}
_MAINTENANCE = {"server": "servers", "target": "targets", "vantage": "vantages"}
_ID = re.compile(r"([sm])([0-9]{1,18})")
_LONGEST_REASON = 500
_HEADERS = ("id", "what", "matches", "from (UTC)", "until (UTC)", "reason")


def register(commands: Subparsers) -> None:
    """Add the parsers."""
    parser = add(
        commands, "silence", ls, "what is not told for a while, and planned work",
        examples=(
            "sonde-collector silence add 'acme-nl-*' --for 2h --reason 'new datacentre'",
            "sonde-collector silence add kind=agent_silent vantage=ams1 --for 1d --reason 'moving house'",
            "sonde-collector silence add server='acme-*' --maintenance --for 2h --reason 'provider works'",
            "sonde-collector silence ls",
            "sonde-collector silence rm s3",
        ),
        detail=(
            "A silenced event is kept, and not sent. What still goes on when the silence ends is told then. "
            "Maintenance also leaves uptime: what is measured in it is kept, but not counted."
        ),
    )  # fmt: skip
    parser.set_defaults(everything=False)
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")
    one = add(
        actions, "add", add_silence, "silence what matches",
        examples=(
            "sonde-collector silence add 'acme-nl-*' --for 2h --reason 'new datacentre'",
            "sonde-collector silence add object=target kind='certificate_*' --for 7d --reason 'known'",
            "sonde-collector silence add '*' --maintenance --until 2026-12-01T08:00Z --reason works",
        ),
        detail=(
            "MATCH is a key with * and ? (subject=KEY for short), or NAME=KEY with the names subject, "
            "object, kind and vantage; with --maintenance server, target and vantage (a key alone is a "
            "server's). The same name twice: either; several names: all of them."
        ),
    )  # fmt: skip
    one.add_argument("match", nargs="+", metavar="MATCH")
    length = one.add_mutually_exclusive_group(required=True)
    length.add_argument("--for", dest="length", metavar="DURATION", help='such as "2h"')
    length.add_argument("--until", metavar="TIME", help="such as 2026-12-01T08:00Z")
    one.add_argument("--from", dest="since", metavar="TIME", help="when it begins; now, if left out")
    one.add_argument("--reason", required=True, help="for those who find it")
    one.add_argument("--maintenance", action="store_true", help="planned work: it also leaves uptime")
    one.add_argument("--weekly", action="store_true", help="maintenance: every week again, in UTC")
    all_of = add(
        actions, "ls", ls, "list silences and maintenance windows",
        examples=("sonde-collector silence ls", "sonde-collector silence ls --all --json"),
    )  # fmt: skip
    all_of.add_argument("--all", dest="everything", action="store_true", help="those that are over, too")
    gone = add(
        actions, "rm", remove, "end a silence or a maintenance window now",
        examples=("sonde-collector silence rm s3", "sonde-collector silence rm m4 --void"),
        detail="What has passed of a maintenance window stays out of uptime, unless it is made void.",
        json=False,
    )  # fmt: skip
    gone.add_argument("ids", nargs="+", metavar="ID", help="as `silence ls` lists it")
    gone.add_argument("--void", action="store_true", help="maintenance: as if it had never been")


def add_silence(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Add a silence or a maintenance window."""
    values = _values(args)
    name = "maintenance_add" if args.maintenance else "silence_add"
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        row = conn.execute(query(name), values).fetchone()
        assert row is not None
        counts = conn.execute(query("silence_matches"), values).fetchone() if args.maintenance else None
    identity = f"{'m' if args.maintenance else 's'}{row[0]}"
    until = row[2]
    if args.json:
        counted = {} if counts is None else dict(zip(("servers", "targets", "vantages"), counts, strict=True))
        say_json({"id": identity, "from_at": row[1], "until_at": until, **counted})
        return 0
    again = ", and every week again" if args.weekly else ""
    say(f"{identity}: from {row[1]:%Y-%m-%d %H:%M} until {until:%Y-%m-%d %H:%M} UTC{again}")
    if counts is not None:
        say(f"{counts[0]} server(s) and {counts[1]} target(s), seen from {counts[2]} vantage(s)")
    return 0


def _values(args: argparse.Namespace) -> dict[str, Any]:
    """Give the parameters of the statement that adds it."""
    mistakes: list[str] = []
    values: dict[str, Any] = dict.fromkeys((*_SILENCE.values(), *_MAINTENANCE.values()))
    values |= _matches(args.match, mistakes, maintenance=args.maintenance)
    values |= {"from_at": None, "until_at": None, "for_s": None, "reason": args.reason, "weekly": args.weekly}
    for option, name, text, read_as in (
        ("--from", "from_at", args.since, _time),
        ("--until", "until_at", args.until, _time),
        ("--for", "for_s", args.length, parse_duration),
    ):
        if text is not None:
            try:
                values[name] = read_as(text)
            except ValueError as error:
                mistakes.append(f"{option} {error}")
    mistakes += _together(args, values)
    if mistakes:
        raise ConfigError(mistakes)
    return values


def _matches(words: Sequence[str], mistakes: list[str], *, maintenance: bool) -> dict[str, list[str]]:
    """Give the globs by column."""
    names = _MAINTENANCE if maintenance else _SILENCE
    found: dict[str, list[str]] = {}
    for word in words:
        name, equals, glob = word.partition("=")
        if not equals:
            name, glob = "server" if maintenance else "subject", word
        if name not in names:
            mistakes.append(f'"{word}": write NAME=KEY with one of the names {", ".join(names)}')
            continue
        try:
            found.setdefault(names[name], []).append(simple_glob(glob))
        except ValueError as error:
            mistakes.append(f'"{word}": {error}')
    return found


def _time(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(moment(text))


def _together(args: argparse.Namespace, values: dict[str, Any]) -> list[str]:
    mistakes = []
    begins, now = values["from_at"], dt.datetime.now(dt.UTC)
    if values["until_at"] is not None and values["until_at"] <= (begins or now):
        mistakes.append("--until must be after its beginning")
    if (
        not args.maintenance
        and begins is not None
        and values["until_at"] is not None
        and values["until_at"] <= now
    ):
        mistakes.append("--until must lie ahead: what was told can't be silenced any more")
    if values["for_s"] == 0:
        mistakes.append("--for must be longer than nothing")
    if args.weekly and not args.maintenance:
        mistakes.append("--weekly goes with --maintenance only")
    length = values["for_s"] or (
        (values["until_at"] - (begins or now)).total_seconds() if values["until_at"] else 0.0
    )
    if args.weekly and length > 7 * 86_400:
        mistakes.append("--weekly: a window must be at most 7 days long")
    if not args.reason.strip() or len(args.reason) > _LONGEST_REASON or "\0" in args.reason:
        mistakes.append(f"--reason must be 1 to {_LONGEST_REASON} characters")
    return mistakes


def ls(config: CollectorConfig, args: argparse.Namespace) -> int:
    """List silences and maintenance windows."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        rows = read.silences(conn, everything=args.everything)
    if args.json:
        say_json(rows)
    elif rows:
        say_table(_HEADERS, [_row(row) for row in rows])
    else:
        say("nothing is silenced")
    return 0


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    matches = [
        f"{name}={glob}" for name, column in (_SILENCE | _MAINTENANCE).items() for glob in row[column] or ()
    ]
    until = f"{row['until_at']:%Y-%m-%d %H:%M}" + (" weekly" if row["weekly"] else "")
    what = f"{row['what']} {row['key'] or ''}".strip()
    return (row["id"], what, " ".join(matches), f"{row['from_at']:%Y-%m-%d %H:%M}", until, row["reason"])


def remove(config: CollectorConfig, args: argparse.Namespace) -> int:
    """End silences and maintenance windows."""
    with open_database(config.database.url, config.state_dir) as database:
        done = [_remove(database, word, void=args.void) for word in args.ids]
    return 0 if all(done) else 1


def _remove(database: Database, word: str, *, void: bool) -> bool:
    found = _ID.fullmatch(word)
    if found is None:
        complain(
            f'sonde-collector: "{word}" is no id such as s3 or m4: `sonde-collector silence ls` lists them'
        )
        return False
    values = {"id": int(found[2])}
    name = "silence_end" if found[1] == "s" else "maintenance_void" if void else "maintenance_end"
    with database.connect(autocommit=True) as conn:
        if conn.execute(query(name), values).fetchone() is not None:
            say(f"{word} is over" if name != "maintenance_void" else f"{word} never was")
            return True
        kept = conn.execute(query("maintenance_key"), values).fetchone() if found[1] == "m" else None
    if kept is not None:
        complain(
            f'sonde-collector: "{word}" is [[maintenance]] "{kept[0]}" of the fleet file: take it out there'
        )
    else:
        complain(f'sonde-collector: "{word}" is not on: `sonde-collector silence ls --all` lists what was')
    return False
