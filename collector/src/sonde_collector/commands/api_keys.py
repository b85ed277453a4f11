"""`api-key`: who may read by HTTP."""

import argparse
import re

from sonde_collector.access import keys
from sonde_collector.commands.output import complain, say, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import open_database
from sonde_proto.units import parse_duration

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")
_RATE = re.compile(r"([0-9]{1,7})(/min)?")
_MOST_PER_MINUTE = 1_000_000
_HEADERS = ("name", "state", "rate", "made", "last used", "expires")


def register(commands: Subparsers) -> None:
    """Add the parsers."""
    parser = add(
        commands, "api-key", ls, "keys of those who read by HTTP",
        examples=(
            "sonde-collector api-key add website --rate 600/min --expires 90d",
            'curl -H "Authorization: Bearer sonde_…" https://collector.example:7480/v1/ranking',
            "sonde-collector api-key ls",
            "sonde-collector api-key rm website",
        ),
        detail=(
            "A key is shown once, when it is made; the database keeps its SHA-256. Whoever asks from the "
            'collector\'s own host, without a proxy between, needs none unless [api] anonymous = "never".'
        ),
    )  # fmt: skip
    parser.set_defaults(all=False)
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")
    make = add(
        actions, "add", add_key, "make a key and show it, once",
        examples=("sonde-collector api-key add website --rate 600/min --expires 90d",),
    )  # fmt: skip
    make.add_argument("name", type=_name, metavar="NAME", help='letters, digits, ".", "_", "-"')
    make.add_argument(
        "--rate", type=_rate, default=600, metavar="N/min",
        help="requests a minute that each collector answers, and how many may come at once (default 600/min)",
    )  # fmt: skip
    make.add_argument("--expires", type=_expires, metavar="DURATION", help='such as "90d" (default: never)')
    listing = add(actions, "ls", ls, "list the keys", examples=("sonde-collector api-key ls --all",))
    listing.add_argument("--all", action="store_true", help="also those that were removed")
    remove = add(
        actions, "rm", rm, "refuse keys from now on",
        detail="Collectors that run know it within five seconds.",
        examples=("sonde-collector api-key rm website",), json=False,
    )  # fmt: skip
    remove.add_argument("names", nargs="+", metavar="NAME", help="a key, as `api-key ls` lists it")


def add_key(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Make one."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        made = keys.add(conn, args.name, rate_per_minute=args.rate, expires_s=args.expires)
    if made is None:
        complain(
            f'sonde-collector: a key "{args.name}" is in use: choose another name, or remove it first '
            f"(`sonde-collector api-key rm {args.name}`)"
        )
        return 1
    if args.json:
        say_json(made)
        return 0
    say(made["token"])
    until = f"until {made['expires_at']:%Y-%m-%d %H:%M} UTC" if made["expires_at"] else "until it is removed"
    complain(f'key "{args.name}": {args.rate} requests a minute, {until}. It is not shown again.')
    return 0


def ls(config: CollectorConfig, args: argparse.Namespace) -> int:
    """List them."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        rows = keys.ls(conn, revoked=args.all)
    if args.json:
        say_json(rows)
        return 0
    if not rows:
        say("no key yet: `sonde-collector api-key add NAME` makes one")
        return 0
    times = ("created_at", "last_used_at", "expires_at")
    shown = [
        (
            row["name"],
            row["state"],
            f"{row['rate_per_minute']}/min",
            *(f"{row[name]:%Y-%m-%d %H:%M}" if row[name] else "never" for name in times),
        )
        for row in rows
    ]
    say_table(_HEADERS, shown)
    return 0


def rm(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Refuse some."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        gone = {name: keys.revoke(conn, name) for name in dict.fromkeys(args.names)}
    for name, was_there in gone.items():
        if was_there:
            say(f"{name} is refused from now on")
        else:
            complain(f'sonde-collector: no key "{name}": `sonde-collector api-key ls` lists them')
    return 0 if all(gone.values()) else 1


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            'must be 1 to 50 letters, digits, ".", "_" and "-", beginning with a letter or digit'
        )
    return text


def _rate(text: str) -> int:
    match = _RATE.fullmatch(text)
    if match is None or not 1 <= int(match[1]) <= _MOST_PER_MINUTE:
        raise argparse.ArgumentTypeError(f'must be 1 to {_MOST_PER_MINUTE} a minute, such as "600/min"')
    return int(match[1])


def _expires(text: str) -> float:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if seconds <= 0:
        raise argparse.ArgumentTypeError("must be longer than nothing")
    return seconds
