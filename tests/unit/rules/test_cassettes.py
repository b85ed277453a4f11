"""Every cassette is judged as it expects, and every verdict of every rule is reached by one."""

from itertools import combinations

import attrs
import pytest
from support.unlock_rules import ENABLED, SLUGS, Fetch, cassettes, every_cassette, name_of, play, rule

from sonde_unlock.cassette import Cassette, Unmatched
from sonde_unlock.exchange import Exchange, Request
from sonde_unlock.verdict import Verdict

TROUBLE = {
    "rate-limited": Verdict.RATE_LIMITED,
    "challenge-200": Verdict.BLOCKED,
    "challenge-403": Verdict.BLOCKED,
    "consent": Verdict.INCONCLUSIVE,
    "empty": Verdict.INCONCLUSIVE,
    "truncated": Verdict.INCONCLUSIVE,
    "dns": Verdict.NETWORK_ERROR,
    "timeout": Verdict.NETWORK_ERROR,
    "reset": Verdict.NETWORK_ERROR,
}
GATED = [one for one in every_cassette() if one.tls == "browser"]
TOKENS = [one for one in every_cassette() if any(recorded.consumes for recorded in one.exchanges)]


@pytest.mark.parametrize("cassette", every_cassette(), ids=name_of)
def test_a_cassette_is_judged_as_it_expects(cassette: Cassette) -> None:
    """Verdict, scope and region, each as written."""
    judgement = play(cassette)
    found = (judgement.verdict, judgement.scope, judgement.region)
    assert found == (cassette.expect.verdict, cassette.expect.scope, cassette.expect.region), judgement.detail


@pytest.mark.parametrize("cassette", [one for one in every_cassette() if not one.family], ids=name_of)
def test_the_same_answers_mean_the_same_in_both_families(cassette: Cassette) -> None:
    """What is played for both is judged alike; only answers make the difference."""
    over_v6 = play(attrs.evolve(cassette, family=6))
    assert (over_v6.verdict, over_v6.decided) == (cassette.expect.verdict, play(cassette).decided)


@pytest.mark.parametrize("slug", SLUGS)
def test_every_verdict_of_a_rule_is_reached(slug: str) -> None:
    """Whatever is in the list has been seen to decide at least once."""
    reached = {play(cassette).decided.by for cassette in cassettes(slug)}
    entries = enumerate(rule(slug).verdicts, 1)
    assert [f"entry {number}: {entry.verdict}" for number, entry in entries if number not in reached] == []


@pytest.mark.parametrize("slug", ENABLED)
@pytest.mark.parametrize("behaviour", TROUBLE)
def test_trouble_is_judged_by_the_engine_alone(slug: str, behaviour: str) -> None:
    """Nine kinds of trouble, each with every platform that is on; no entry of its list decides."""
    (cassette,) = [one for one in cassettes(slug) if one.behaviour == behaviour]
    judgement = play(cassette)
    assert (judgement.verdict, judgement.decided.by) == (TROUBLE[behaviour], 0)
    assert judgement.detail
    if behaviour == "rate-limited":
        assert judgement.retry_after_s == 120
        assert len(judgement.trace) == 1, "who is told to wait asks nothing more"


@pytest.mark.parametrize("cassette", every_cassette(), ids=name_of)
def test_a_cassette_is_invented_and_says_so(cassette: Cassette) -> None:
    """Synthetic, of the version that is shipped, and seen from a country that its region agrees with."""
    assert cassette.provenance == "synthetic"
    assert cassette.rule_version == rule(cassette.slug).version
    assert cassette.client == rule(cassette.slug).client.profile
    assert not cassette.country or cassette.expect.region in ("", cassette.country)


def test_platforms_share_no_host() -> None:
    """A world that plays many platforms can tell by the host which of them is asked."""
    hosts = {slug: frozenset[str]().union(*(one.hosts for one in cassettes(slug))) for slug in SLUGS}
    assert [(one, other) for one, other in combinations(SLUGS, 2) if hosts[one] & hosts[other]] == []


@pytest.mark.parametrize("cassette", GATED, ids=name_of)
def test_who_does_not_greet_as_a_browser_learns_nothing(cassette: Cassette) -> None:
    """A browser passes; this program's own TLS is refused, and concludes nothing from it."""
    assert play(cassette).verdict is Verdict.AVAILABLE
    refused = play(cassette, plain=True)
    assert refused.verdict is Verdict.INCONCLUSIVE
    assert {exchange.status for exchange in refused.trace} == {403}
    assert "plain TLS" in refused.detail


def test_two_platforms_look_at_the_greeting() -> None:
    """Of those that are on."""
    assert {cassette.slug for cassette in GATED} == {"netflix", "dazn"}


@pytest.mark.parametrize("cassette", TOKENS, ids=name_of)
def test_a_later_step_needs_the_token_of_an_earlier_one(cassette: Cassette) -> None:
    """Another token than the one that was minted fits no exchange."""

    def forged(fetch: Fetch) -> Fetch:
        def asking(request: Request) -> Exchange:
            exchange = fetch(request)
            return attrs.evolve(exchange, body=exchange.body.replace(b"sonde-token-", b"other-token-"))

        return asking

    with pytest.raises(Unmatched):
        play(cassette, forged)


def test_flows_of_several_steps_have_tokens() -> None:
    """Each of the rules that hand something from step to step."""
    assert {cassette.slug for cassette in TOKENS} == {"disney-plus", "hbo-max", "discovery-plus"}


def test_an_answer_that_names_a_stranger_is_not_followed() -> None:
    """HBO Max's third host is built from an answer: one that is not the platform's is never asked."""
    (cassette,) = [one for one in cassettes("hbo-max") if one.behaviour == "sent-elsewhere"]
    assert [exchange.request.step for exchange in play(cassette).trace] == ["token", "bootstrap"]
