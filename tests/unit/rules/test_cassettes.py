"""Every cassette is judged as it expects, and every verdict of every rule is reached by one."""

from itertools import pairwise

import pytest
from sonde_unlock.cassette import Cassette
from sonde_unlock.verdict import Verdict

from support.unlock_rules import ENABLED, SLUGS, cassettes, every_cassette, inputs, name_of, play, rule

FAULTS = {"dns", "timeout", "reset"}


@pytest.mark.parametrize("cassette", every_cassette(), ids=name_of)
def test_a_cassette_is_judged_as_it_expects(cassette: Cassette) -> None:
    """Verdict, scope and region, each as written."""
    judgement = play(cassette)
    found = (judgement.verdict, judgement.scope, judgement.region)
    assert found == (cassette.expect.verdict, cassette.expect.scope, cassette.expect.region), judgement.detail


@pytest.mark.parametrize("slug", SLUGS)
def test_every_verdict_of_a_rule_is_reached(slug: str) -> None:
    """Whatever is in the list has been seen to decide at least once."""
    reached = {play(cassette).decided.by for cassette in cassettes(slug)}
    missing = [f"{number}: {entry.verdict}" for number, entry in enumerate(rule(slug).verdicts, 1) if number not in reached]
    assert missing == []
