"""A cassette played to its rule, in process: no socket, no clock, the same random bytes each time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sonde_collector.rules import shelf
from sonde_collector.rules.mutate import answered
from sonde_unlock import reading
from sonde_unlock.cassette import Cassette, Player, Unmatched, fetcher
from sonde_unlock.document import RuleError
from sonde_unlock.engine import Inputs, run
from sonde_unlock.exchange import Error, Exchange, Request
from sonde_unlock.model import Rule
from sonde_unlock.verdict import Judgement

_NOW_S = 1_800_000_000.0


def families(cassette: Cassette) -> tuple[int, ...]:
    """Give the families that a cassette is for."""
    return (cassette.family,) if cassette.family else (4, 6)


def judge(
    rule: Rule,
    cassette: Cassette,
    change: Callable[[Exchange], Exchange] | None = None,
    *,
    family: int = 0,
    plain_tls: bool = False,
) -> Judgement:
    """Give what a rule makes of a cassette.

    Args:
        rule: that asks.
        cassette: that answers.
        change: what becomes of each answer first. Requests that only changed answers lead to get a page that
            says nothing.
        family: 4 or 6; 0 = the cassette's first.
        plain_tls: play a transport that can't show a browser's TLS.

    Raises:
        Unmatched: the rule asks for what the cassette does not hold.
    """
    inputs = Inputs(
        family=family or families(cassette)[0],
        secrets=cassette.secrets,
        now_s=_NOW_S,
        random_bytes=lambda count: bytes(index % 251 for index in range(count)),
        plain_tls=plain_tls,
    )
    fetch = fetcher(Player((cassette,)), plain_tls=plain_tls)
    if change is None:
        return run(rule, inputs, fetch)

    def changed(request: Request) -> Exchange:
        try:
            return change(fetch(request))
        except Unmatched:
            return answered(Exchange(request, error=Error.PROTOCOL))

    return run(rule, inputs, changed)


def label(cassette: Cassette) -> str:
    """Give how people name a cassette: its behaviour, family and country."""
    family = f" v{cassette.family}" if cassette.family else ""
    return f"{cassette.behaviour}{family}" + (f" ({cassette.country})" if cassette.country else "")


def expected(cassette: Cassette) -> str:
    """Give what a cassette expects, and where it is from."""
    wanted = cassette.expect
    text = wanted.verdict.value + (f" ({wanted.scope})" if wanted.scope else "")
    text += f", region {wanted.region}" if wanted.region else ""
    return f"{text} [{cassette.provenance} {cassette.captured_at}]"


def described(cassette: Cassette) -> dict[str, Any]:
    """Give a cassette for programs, without its answers."""
    return {
        "behaviour": cassette.behaviour,
        "country": cassette.country,
        "family": cassette.family or None,
        "provenance": cassette.provenance,
        "captured_at": cassette.captured_at,
        "verdict": cassette.expect.verdict.value,
        "scope": cassette.expect.scope,
        "region": cassette.expect.region,
    }


def compared(cassette: Cassette, judgement: Judgement) -> list[tuple[str, str, str]]:
    """Give what is compared: its name, what the cassette expects, what came out."""
    wanted = cassette.expect
    return [
        ("verdict", wanted.verdict.value, judgement.verdict.value),
        ("scope", wanted.scope, judgement.scope),
        ("region", wanted.region, judgement.region),
    ]


def read(path: Path) -> tuple[Cassette, ...]:
    """Read a file of cassettes.

    Raises:
        ValueError: it can't be read; the message is a line for each mistake.
    """
    try:
        return reading.read_cassettes(shelf.read_text(path), shelf.shown(path))
    except RuleError as error:
        lines = (f"{shelf.shown(path)}:{each.line}: {each.text}" for each in error.problems)
        raise ValueError("\n".join(lines)) from None
    except ValueError as error:
        raise ValueError(f"{shelf.shown(path)}: {error}") from None
