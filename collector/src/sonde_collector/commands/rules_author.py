"""`rules new` and `rules record`: a rule to begin with, and answers of a real platform as a cassette."""

import argparse
import datetime as dt
from pathlib import Path

import sonde_rules
from sonde_collector.commands.output import complain, say, say_json
from sonde_collector.commands.parsers import Subparsers, add_standalone
from sonde_collector.rules import scaffold, shelf

_LONGEST_NAME = 80


def register(actions: Subparsers) -> None:
    """Add the parsers."""
    fresh = add_standalone(
        actions, "new", new, "write a rule and a cassette to begin with",
        examples=(
            "sonde-collector rules new acme-tv --url https://www.acme.example/watch/1",
            "sonde-collector rules new acme-tv --url https://acme.example/ --name 'Acme TV' --into ./mine",
        ),
        detail=(
            "What is written asks one page. Everything that is called REPLACE_ME is yours to say; "
            "`rules lint` complains until nothing is left of it. Nothing is overwritten."
        ),
    )  # fmt: skip
    fresh.add_argument("slug", metavar="SLUG", help='such as "acme-tv"')
    fresh.add_argument(
        "--url", required=True, metavar="URL", help="a page that shows where the platform is offered"
    )
    fresh.add_argument("--name", metavar="NAME", help="as people know it (default: of the slug)")
    fresh.add_argument(
        "--into", type=Path, metavar="DIR", default=sonde_rules.RULES.parent,
        help="gets platforms/SLUG.yaml and cassettes/SLUG.yaml (default: the shipped rules)",
    )  # fmt: skip


def new(args: argparse.Namespace) -> int:
    """Scaffold a rule."""
    name = args.name or args.slug.replace("-", " ").title()
    mistakes = [*filter(None, (scaffold.mistake_of_slug(args.slug), scaffold.mistake_of_url(args.url)))]
    if not name.isprintable() or not 0 < len(name) <= _LONGEST_NAME:
        mistakes.append(f"--name must be 1 to {_LONGEST_NAME} printable characters")
    for mistake in mistakes:
        complain(f"sonde-collector: {mistake}")
    if mistakes:
        return 2
    today = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    files = {
        args.into / "platforms" / f"{args.slug}.yaml": scaffold.rule(args.slug, name, args.url, today),
        args.into / "cassettes" / f"{args.slug}.yaml": scaffold.cassettes(args.slug, args.url, today),
    }
    there = [path for path in files if path.exists() or path.is_symlink()]
    for path in there:
        complain(f"sonde-collector: {shelf.shown(path)} exists: nothing was written")
    if there:
        return 1
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    rule, cassettes = map(shelf.shown, files)
    if args.json:
        say_json({"rule": rule, "cassettes": cassettes})
        return 0
    say(f"{rule}: what to ask, and what answers mean")
    say(f"{cassettes}: answers to try it on")
    say(f"next: `sonde-collector rules lint {rule}` tells what is yours to fill in")
    return 0
