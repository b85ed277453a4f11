"""`rules test` and `rules explain`: what a rule makes of its cassettes, and what it is, in words."""

import argparse
from pathlib import Path
from typing import Any

import attrs

from sonde_collector.commands.output import complain, say, say_json
from sonde_collector.commands.parsers import Subparsers, add_standalone
from sonde_collector.rules import explain as telling
from sonde_collector.rules import play, shelf, trial, walk, words
from sonde_collector.rules.examine import Examined, examine
from sonde_unlock.cassette import Cassette
from sonde_unlock.model import Rule


def register(actions: Subparsers) -> None:
    """Add the parsers."""
    one = add_standalone(
        actions, "test", test, "play a rule's cassettes and compare what it says",
        examples=(
            "sonde-collector rules test    all shipped rules",
            "sonde-collector rules test netflix --mutate",
            "sonde-collector rules test ./acme-tv.yaml --cassettes ./recorded --json",
        ),
        detail=(
            "Green says that the rule judges those days rightly, not that the platform is so today. With "
            "--mutate each marker that decided is taken out of the answers: the verdict must then be "
            "inconclusive, or rest on another marker of the same; never become another one."
        ),
    )  # fmt: skip
    one.add_argument(
        "words", nargs="*", metavar="SLUG|FILE|DIR", help="which rules (default: the shipped ones)"
    )
    one.add_argument("--cassettes", type=Path, metavar="DIR", help="where SLUG.yaml with cassettes is")
    one.add_argument("--mutate", action="store_true", help="also without each marker")
    tell = add_standalone(
        actions, "explain", explain, "tell a rule in words: what it asks, what it needs, what it can't show",
        examples=(
            "sonde-collector rules explain netflix",
            "sonde-collector rules explain netflix --answers netflix:originals",
            "sonde-collector rules explain ./acme-tv.yaml --answers ./cassettes/acme-tv.yaml",
        ),
    )  # fmt: skip
    tell.add_argument("word", metavar="SLUG|FILE")
    tell.add_argument(
        "--answers", metavar="CASSETTE[:BEHAVIOUR]",
        help="walk through recorded answers: a slug or file, and which of its behaviours (default: all)",
    )  # fmt: skip


def test(args: argparse.Namespace) -> int:
    """Try rules."""
    try:
        found = [examine(path, args.cassettes) for path in shelf.rule_files(args.words)]
    except shelf.Unknown as error:
        return _refuse(error)
    tried = [(each, _attempt(each, mutations=args.mutate)) for each in found]
    if args.json:
        say_json([_described(each, one) for each, one in tried])
    else:
        for each, one in tried:
            _tell(each, one)
        good = sum(1 for _, one in tried if one and one.good)
        say(f"{good} of {len(tried)} rules as their cassettes expect")
    return 0 if all(one and one.good for _, one in tried) else 1


def _attempt(each: Examined, *, mutations: bool) -> trial.Trial | None:
    """Try a rule; None = its files have mistakes."""
    if each.rule is None or each.mistakes:
        return None
    return trial.attempt(each.rule, each.cassettes, mutations=mutations)


def _tell(each: Examined, one: trial.Trial | None) -> None:
    if one is None or each.rule is None:
        for mistake in each.mistakes:
            say(str(mistake))
        return
    slug = each.rule.slug
    for played in one.played:
        say(f"{'ok  ' if not played.wrong else 'BAD '} {slug}: {played.label}: {played.said}")
        for line in played.wrong:
            say(f"       {line}")
    if not one.played:
        say(f"BAD  {slug}: no cassette in {shelf.shown(each.cassette_path)}")
        return
    for number in one.unreached:
        entry = each.rule.verdicts[number - 1]
        say(f"BAD  {slug}: no cassette reaches entry {number}: {words.outcome(entry)}")
    for mutated in one.mutated:
        if not mutated.good:
            gone = f"{mutated.label} without [{mutated.marker}]"
            say(f"BAD  {slug}: {gone} is {mutated.said}, must be inconclusive")
    if one.mutated and all(mutated.good for mutated in one.mutated):
        say(f"ok   {slug}: {len(one.mutated)} times without a marker, no other verdict")


def _described(each: Examined, one: trial.Trial | None) -> dict[str, Any]:
    described: dict[str, Any] = {"slug": each.path.stem, "good": bool(one and one.good)}
    described["mistakes"] = [str(mistake) for mistake in each.mistakes]
    return described | (attrs.asdict(one) if one else {})


def explain(args: argparse.Namespace) -> int:
    """Explain a rule."""
    try:
        each = examine(shelf.rule_file(args.word))
        rule = _whole(each)
        answers = None if args.answers is None else _answers(args.answers, rule)
    except (shelf.Unknown, ValueError) as error:
        return _refuse(error)
    if answers is not None:
        told = [(cassette, list(walk.lines(rule, cassette))) for cassette in answers]
        if args.json:
            say_json([{"behaviour": cassette.behaviour, "walk": lines} for cassette, lines in told])
        for line in (line for _, lines in told for line in lines if not args.json):
            say(line)
    elif args.json:
        say_json(telling.described(rule, [play.described(cassette) for cassette in each.cassettes]))
    else:
        for line in telling.lines(
            rule, [f"{play.label(one)}: {play.expected(one)}" for one in each.cassettes]
        ):
            say(line)
    return 0


def _whole(each: Examined) -> Rule:
    """Give a rule that can be read.

    Raises:
        ValueError: with its mistakes.
    """
    if each.rule is None:
        raise ValueError("\n".join(map(str, each.mistakes)))
    return each.rule


def _answers(word: str, rule: Rule) -> list[Cassette]:
    """Give the cassettes that --answers names.

    Raises:
        ValueError: there is none; the message says what there is.
    """
    name, _, behaviour = word.partition(":")
    path = Path(name)
    if not path.is_file():
        path = shelf.cassette_file(shelf.rule_file(name))
    cassettes = play.read(path)
    chosen = [each for each in cassettes if each.slug == rule.slug and behaviour in ("", each.behaviour)]
    if not chosen:
        there = ", ".join(each.behaviour for each in cassettes if each.slug == rule.slug) or "none"
        raise ValueError(f'{shelf.shown(path)} has no answers of {rule.slug} "{behaviour}"; there: {there}')
    return chosen


def _refuse(error: Exception) -> int:
    for line in str(error).splitlines():
        complain(f"sonde-collector: {line}")
    return 2
