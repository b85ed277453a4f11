"""`rules`: the unlock rules that are shipped, and the desk where rules are written, tried and packed."""

import argparse
from pathlib import Path

from sonde_collector.commands import rules_author, rules_pack, rules_try, rules_void
from sonde_collector.commands.output import complain, say, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add_standalone
from sonde_collector.rules import shelf
from sonde_collector.rules.examine import Examined, examine

_HEADERS = ("slug", "enabled", "version", "level", "confidence", "families", "confirmed live", "cassettes")
_MARKS = {"expected": "{}", "unknown": "{}?", "unsupported": ""}


def register(commands: Subparsers) -> None:
    """Add the parsers."""
    parser = add_standalone(
        commands, "rules", ls, "unlock rules: list, lint, test, explain, write, sign, take back",
        examples=(
            "sonde-collector rules ls",
            "sonde-collector rules explain netflix",
            "sonde-collector rules new acme-tv --url https://www.acme.example/watch/1",
            "sonde-collector rules lint acme-tv && sonde-collector rules test acme-tv --mutate",
            "sonde-collector rules key rules.key",
            "sonde-collector rules pack --key rules.key --out unlock.pack",
            "sonde-collector rules void netflix 2026-11-21 --reason 'shows its page everywhere'",
        ),
        detail=(
            "A rule is a YAML file: what a platform is asked, and which answers mean which verdict. Agents "
            "take only packs that are signed by a key in their own configuration. unlock/README.md explains "
            "the language, CONTRIBUTING.md takes you to a new platform in ten minutes."
        ),
    )  # fmt: skip
    parser.set_defaults(words=[])
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")
    listing = add_standalone(
        actions, "ls", ls, "list rules",
        examples=("sonde-collector rules ls", "sonde-collector rules ls --json | jq '.[].slug'"),
    )  # fmt: skip
    _words(listing)
    check = add_standalone(
        actions, "lint", lint, "tell every mistake in rules and their cassettes, with file and line",
        examples=("sonde-collector rules lint", "sonde-collector rules lint netflix ./acme-tv.yaml"),
        detail="Exit code 1 where there is a mistake. Placeholders that `rules new` left are mistakes.",
    )  # fmt: skip
    _words(check)
    rules_try.register(actions)
    rules_author.register(actions)
    rules_pack.register(actions)
    rules_void.register(actions)


def _words(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", metavar="SLUG|FILE|DIR", help="which rules (default: those that are shipped)"
    )


def ls(args: argparse.Namespace) -> int:
    """List rules."""
    try:
        found = [examine(path) for path in shelf.rule_files(args.words)]
    except shelf.Unknown as error:
        return _refuse(error)
    bad = [each for each in found if each.rule is None]
    if args.json:
        say_json([_described(each) for each in found])
    else:
        say_table(_HEADERS, [_row(each) for each in found if each.rule])
    for each in bad:
        complain(
            f"sonde-collector: {shelf.shown(each.path)} can't be read: `sonde-collector rules lint` says why"
        )
    return 1 if bad else 0


def _row(each: Examined) -> tuple[str, ...]:
    rule = each.rule
    assert rule is not None
    families = [_MARKS[word].format(f"v{family}") for family, word in sorted(rule.families.items())]
    return (
        rule.slug,
        "yes" if rule.enabled else "no",
        rule.version,
        rule.evidence.level.value,
        rule.confidence,
        " ".join(filter(None, families)),
        rule.confirmed_live or "never",
        str(len(each.cassettes)),
    )


def _described(each: Examined) -> dict[str, object]:
    rule = each.rule
    if rule is None:
        return {
            "slug": each.path.stem,
            "file": str(each.path),
            "mistakes": [str(one) for one in each.mistakes],
        }
    return {
        "slug": rule.slug,
        "name": rule.name,
        "file": str(each.path),
        "enabled": rule.enabled,
        "version": rule.version,
        "level": rule.evidence.level.value,
        "confidence": rule.confidence,
        "families": {f"v{family}": word for family, word in rule.families.items()},
        "confirmed_live": rule.confirmed_live or None,
        "checked_on": rule.checked_on,
        "cassettes": len(each.cassettes),
    }


def lint(args: argparse.Namespace) -> int:
    """Tell every mistake."""
    try:
        files: list[Path] = shelf.rule_files(args.words)
    except shelf.Unknown as error:
        return _refuse(error)
    mistakes = [mistake for path in files for mistake in examine(path).mistakes]
    if args.json:
        say_json([{"file": each.file, "line": each.line or None, "text": each.text} for each in mistakes])
    else:
        for mistake in mistakes:
            say(str(mistake))
        if not mistakes:
            say(f"{len(files)} rule{'' if len(files) == 1 else 's'}, no mistake")
    return 1 if mistakes else 0


def _refuse(error: Exception) -> int:
    complain(f"sonde-collector: {error}")
    return 2
