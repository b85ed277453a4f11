"""A rule makes of answers what its author wrote, and of anything else nothing."""

from pathlib import Path

import pytest

from sonde_unlock.cassette import Cassette, Player, fetcher
from sonde_unlock.engine import Inputs, run
from sonde_unlock.model import Rule
from sonde_unlock.reading import read_cassettes, read_rule

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "unlock"
CASSETTES = read_cassettes((GOLDEN / "cassettes.yaml").read_text(), "cassettes.yaml")


def golden(slug: str) -> Rule:
    """Return one of the golden rules."""
    return read_rule((GOLDEN / f"{slug}.yaml").read_text(), f"{slug}.yaml")


def inputs(family: int = 4, secrets: dict[str, str] | None = None, *, plain_tls: bool = False) -> Inputs:
    """Return inputs without chance."""
    return Inputs(family, secrets or {}, 1.7e9, lambda count: b"\x07" * count, plain_tls)


@pytest.mark.parametrize("cassette", CASSETTES, ids=lambda one: one.behaviour)
def test_a_rule_judges_each_recorded_behaviour(cassette: Cassette) -> None:
    """What a cassette expects is what the rule makes of it."""
    judged = run(golden(cassette.slug), inputs(secrets=dict(cassette.secrets)), fetcher(Player([cassette])))
    expect = cassette.expect
    assert (judged.verdict, judged.scope, judged.region) == (expect.verdict, expect.scope, expect.region)
