"""A rule's files read whole: the rule, its cassettes, and every mistake in either, with file and line."""

from pathlib import Path

import attrs

from sonde_collector.rules import scaffold, scrub, shelf, trim
from sonde_unlock import lint, reading
from sonde_unlock.cassette import Cassette
from sonde_unlock.document import Problem, RuleError
from sonde_unlock.model import Rule


@attrs.frozen(order=True)
class Mistake:
    """A mistake of a file; line 0 = of the whole file."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


@attrs.frozen
class Examined:
    """What a rule's files hold.

    Attributes:
        path: of the rule.
        cassette_path: where its cassettes are, or would be.
        rule: None = it can't be read.
        cassettes: () = there are none, or they can't be read.
        mistakes: of both files.
    """

    path: Path
    cassette_path: Path
    rule: Rule | None
    cassettes: tuple[Cassette, ...]
    mistakes: tuple[Mistake, ...]


def examine(path: Path, folder: Path | None = None) -> Examined:
    """Read a rule and its cassettes.

    Args:
        path: of the rule's file.
        folder: of the cassettes; None = `cassettes/` beside the rule's folder.
    """
    mistakes: list[Mistake] = []
    text = _text(path, mistakes)
    rule = None if text is None else _rule(path, text, mistakes)
    cassette_path = shelf.cassette_file(path, folder)
    cassettes: tuple[Cassette, ...] = ()
    if cassette_path.exists():
        cassettes = _cassettes(cassette_path, rule, mistakes)
        if rule and cassettes and cassettes[0].slug != rule.slug:
            said = f'these are of "{cassettes[0].slug}", the rule is "{rule.slug}"'
            mistakes.append(Mistake(shelf.shown(cassette_path), 0, said))
    return Examined(path, cassette_path, rule, cassettes, tuple(sorted(set(mistakes))))


def _text(path: Path, mistakes: list[Mistake]) -> str | None:
    try:
        return shelf.read_text(path)
    except ValueError as error:
        mistakes.append(Mistake(shelf.shown(path), 0, str(error)))
    except OSError as error:
        mistakes.append(Mistake(shelf.shown(path), 0, error.strerror or str(error)))
    return None


def _keep(path: Path, problems: list[Problem] | tuple[Problem, ...], mistakes: list[Mistake]) -> None:
    mistakes += [Mistake(shelf.shown(path), each.line, " ".join(each.text.split())) for each in problems]


def _rule(path: Path, text: str, mistakes: list[Mistake]) -> Rule | None:
    _keep(path, scaffold.placeholders(text), mistakes)
    try:
        rule = reading.read_rule(text, path.name)
    except RuleError as error:
        _keep(path, error.problems, mistakes)
        return None
    _keep(path, lint.lint(rule), mistakes)
    if rule.slug != path.stem:
        _keep(path, [Problem(0, f'the slug is "{rule.slug}": name the file {rule.slug}.yaml')], mistakes)
    return rule


def _cassettes(path: Path, rule: Rule | None, mistakes: list[Mistake]) -> tuple[Cassette, ...]:
    text = _text(path, mistakes)
    if text is None:
        return ()
    _keep(path, scaffold.placeholders(text), mistakes)
    looked_for = [each for step in rule.steps for each in trim.patterns(rule, step.id)] if rule else []
    _keep(path, scrub.suspicions(text, looked_for), mistakes)
    try:
        return reading.read_cassettes(text, path.name)
    except RuleError as error:
        _keep(path, error.problems, mistakes)
        return ()
