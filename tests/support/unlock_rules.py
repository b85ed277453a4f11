"""The rules and cassettes that are shipped, and a way to judge one from answers."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from random import Random

from sonde_rules import CASSETTES, RULES
from sonde_unlock.cassette import Cassette, Player, fetcher
from sonde_unlock.engine import Inputs, run
from sonde_unlock.exchange import Exchange, Request
from sonde_unlock.model import Rule
from sonde_unlock.reading import read_cassettes, read_rule
from sonde_unlock.verdict import Judgement

Fetch = Callable[[Request], Exchange]
ENABLED = [
    *("netflix", "disney-plus", "hbo-max", "prime-video"),
    *("bbc-iplayer", "hulu", "youtube-premium", "dazn"),
]
SLUGS = sorted(path.stem for path in RULES.glob("*.yaml"))
NOW_S = 1_796_000_000.0


@cache
def rule(slug: str) -> Rule:
    """Read a shipped rule."""
    return read_rule((RULES / f"{slug}.yaml").read_text(), f"{slug}.yaml")


@cache
def cassettes(slug: str) -> tuple[Cassette, ...]:
    """Read a platform's shipped cassettes."""
    return read_cassettes((CASSETTES / f"{slug}.yaml").read_text(), f"{slug}.yaml")


def every_cassette(slugs: Iterable[str] = SLUGS) -> list[Cassette]:
    """Give all cassettes of these platforms, in the order of the files."""
    return [cassette for slug in slugs for cassette in cassettes(slug)]


def name_of(cassette: Cassette) -> str:
    """Name a cassette as a test's parameter."""
    return f"{cassette.slug}-{cassette.behaviour}" + (f"-v{cassette.family}" if cassette.family else "")


def inputs(family: int = 4, *, plain_tls: bool = False, secrets: Mapping[str, str] | None = None) -> Inputs:
    """Give what a run needs besides answers, the same each time."""
    return Inputs(
        family=family,
        secrets=secrets or {},
        now_s=NOW_S,
        random_bytes=Random(5).randbytes,
        plain_tls=plain_tls,
    )


def play(
    cassette: Cassette, change: Callable[[Fetch], Fetch] = lambda fetch: fetch, *, plain: bool = False
) -> Judgement:
    """Judge a cassette by its platform's rule, with its answers changed on their way."""
    given = inputs(cassette.family or 4, plain_tls=plain, secrets=cassette.secrets)
    return run(rule(cassette.slug), given, change(fetcher(Player((cassette,)), plain_tls=plain)))
