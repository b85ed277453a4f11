"""Every shipped rule reads, lints clean and says where it is from."""

import re

import pytest
from support.unlock_rules import ENABLED, SLUGS, cassettes, rule

from sonde_unlock.lint import lint
from sonde_unlock.verdict import Verdict

SECRET_WORDS = re.compile(r"(?i)bearer [a-z0-9._-]{12}|eyJ[A-Za-z0-9_-]{20}|[\w.]+@[\w.]+\.[a-z]{2,}")


def test_eight_rules_are_on_and_at_least_twelve_are_off() -> None:
    """What is on is exactly the eight that were looked at most closely."""
    on = {slug for slug in SLUGS if rule(slug).enabled}
    assert on == set(ENABLED)
    assert len(SLUGS) - len(on) >= 12


@pytest.mark.parametrize("slug", SLUGS)
def test_a_rule_has_no_problem(slug: str) -> None:
    """Parsed without a mistake, linted without a remark, named as its file."""
    read = rule(slug)
    assert lint(read) == []
    assert read.slug == slug


@pytest.mark.parametrize("slug", SLUGS)
def test_a_rule_says_where_its_facts_are_from(slug: str) -> None:
    """Every source has a revision, or is a page or somebody's own look, and a day; one language is asked."""
    read = rule(slug)
    assert all(re.search("@[0-9a-f]{7}$|^seen |^https://", origin.source) for origin in read.provenance)
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\d", origin.date) for origin in read.provenance)
    assert all("facts only" in origin.note for origin in read.provenance)
    assert [value for name, value in read.client.headers if name.lower() == "accept-language"]


@pytest.mark.parametrize("slug", SLUGS)
def test_only_what_was_recorded_is_confirmed_live(slug: str) -> None:
    """A rule claims that it was right on the live platform only beside answers of that."""
    recorded = {cassette.provenance == "recorded" for cassette in cassettes(slug)}
    assert rule(slug).confirmed_live == "" or True in recorded


@pytest.mark.parametrize("slug", SLUGS)
def test_what_is_offered_has_something_to_see(slug: str) -> None:
    """No status alone makes a platform available, and refusals stand before it."""
    verdicts = [entry.verdict for entry in rule(slug).verdicts]
    offered = [
        index for index, verdict in enumerate(verdicts) if verdict in (Verdict.AVAILABLE, Verdict.PARTIAL)
    ]
    refused = [
        index
        for index, verdict in enumerate(verdicts)
        if verdict in (Verdict.BLOCKED, Verdict.PROXY_DETECTED)
    ]
    assert not offered or not refused or max(refused) < min(offered)


@pytest.mark.parametrize("slug", SLUGS)
def test_no_rule_holds_a_secret_of_anybody(slug: str) -> None:
    """No token, no account; a secret that has a default says what public thing it is."""
    read = rule(slug)
    for secret in read.secrets:
        assert secret.optional or secret.default
        assert secret.note
    text = repr({key: value for key, value in read.document.items() if key not in ("secrets", "verdicts")})
    assert not SECRET_WORDS.search(text)
