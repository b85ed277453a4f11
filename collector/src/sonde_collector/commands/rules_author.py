"""`rules new` and `rules record`: a rule to begin with, and answers of a real platform as a cassette."""

import argparse
import datetime as dt
from pathlib import Path

import sonde_rules
from sonde_collector.commands.output import complain, say, say_json
from sonde_collector.commands.parsers import Subparsers, add_standalone
from sonde_collector.rules import recorder, recording, scaffold, shelf
from sonde_collector.rules.examine import examine
from sonde_collector.rules.walk import said
from sonde_unlock.model import Rule
from sonde_unlock.regions import REGIONS

_LONGEST_NAME = 80
_OF_THE_AGENT = ("through", "username_file", "password_file", "ca_file", "secrets")
_LOOK = (
    "before it is committed, read it: names, cities, networks, ids of titles that only an account sees;",
    "cut what the rule does not look at; put its entry below `cassettes:` of the platform's file;",
    "and say in the rule what it confirms: confirmed_live, provenance.",
)


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
    take = add_standalone(
        actions, "record", record, "ask the platform once and make a cassette of what it answers",
        examples=(
            "sonde-collector rules record netflix --through se-sto-wg-001.conf    as root, for the tunnel",
            "sonde-collector rules record ./acme-tv.yaml --country SE    without a tunnel, from here",
        ),
        detail=(
            "sonde-agent asks, on this host. Tokens become <<NAME>>, cookies, addresses and long opaque "
            "values become stand-ins, long pages are cut down to what the rule looks at; it is written "
            "only if the rule says of it what it said of the platform. A person must read it all the same."
        ),
    )  # fmt: skip
    take.add_argument("word", metavar="SLUG|FILE")
    take.add_argument(
        "--through", metavar="PROFILE", help="a .conf, .ovpn or .sswan file (default: no tunnel)"
    )
    take.add_argument("--username-file", metavar="FILE", help="holds the account's user name")
    take.add_argument("--password-file", metavar="FILE", help="holds the account's password")
    take.add_argument("--family", type=int, choices=(4, 6), default=4, help="IP version (default 4)")
    take.add_argument(
        "--country", type=_country, metavar="XX", help="of the exit (default: as the rule says)"
    )
    take.add_argument("--behaviour", type=_behaviour, metavar="NAME", help="default: verdict and country")
    take.add_argument("--out", type=Path, metavar="FILE", help="must not exist (default: SLUG.recorded.yaml)")
    take.add_argument("--ca-file", metavar="FILE", help="PEM of authorities besides the system's")
    take.add_argument("--secrets", metavar="DIR", help="files SLUG.NAME of the rule's secrets")
    take.add_argument(
        "--trusted-resolver", metavar="ADDRESS", default="", help="ask again by its answers (default: do not)"
    )


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
    world = args.into / "cassettes" / "world.yaml"
    if world.is_file():
        say(f"{shelf.shown(world)}: say there where the lab plays them: a line below `default`, one below GB")
    say(f"next: `sonde-collector rules lint {rule}` tells what is yours to fill in")
    return 0


def _country(text: str) -> str:
    if text not in REGIONS:
        raise argparse.ArgumentTypeError(f'"{text}" is no country, such as SE')
    return text


def _behaviour(text: str) -> str:
    if mistake := scaffold.mistake_of_slug(text):
        raise argparse.ArgumentTypeError(mistake)
    return text


def record(args: argparse.Namespace) -> int:
    """Record a cassette."""
    try:
        rule = _rule(args.word)
    except (shelf.Unknown, ValueError) as error:
        return _refuse(error, 2)
    out = args.out or Path(f"{rule.slug}.recorded.yaml")
    if out.exists() or out.is_symlink():
        complain(f"sonde-collector: {out} exists: nothing was asked")
        return 1
    given = {name: getattr(args, name) for name in _OF_THE_AGENT}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value]
    options.append(f"--trusted-resolver={args.trusted_resolver}")
    today = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    about = recording.About(args.behaviour or "", args.country or "", args.family, today)
    try:
        made = recorder.make(rule, recorder.ask(rule, args.family, options), about)
    except recording.NotRecordable as error:
        return _refuse(error, 1)
    with out.open("x", encoding="utf-8") as file:
        file.write(made.text)
    if args.json:
        say_json({"file": str(out), "verdict": made.judgement.verdict.value, "scrubbed": made.scrubbed})
        return 0
    say(f"{out}: {said(made.judgement)}, {len(made.judgement.trace)} exchanges")
    for line in (*made.scrubbed, *_LOOK):
        say(f"  {line}")
    return 0


def _rule(word: str) -> Rule:
    """Give the rule that a word names.

    Raises:
        Unknown: there is none.
        ValueError: it has mistakes; the message is a line for each.
    """
    path = shelf.rule_file(word)
    examined = examine(path)
    mistakes = [each for each in examined.mistakes if each.file == shelf.shown(path)]
    if examined.rule is None or mistakes:
        raise ValueError("\n".join(map(str, mistakes)))
    return examined.rule


def _refuse(error: Exception, code: int) -> int:
    for line in str(error).splitlines():
        complain(f"sonde-collector: {line}")
    return code
