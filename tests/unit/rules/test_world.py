"""The lab's world is made of cassettes that exist, and has something to tell."""

from collections.abc import Mapping

import pytest
from support.unlock_rules import ENABLED, SLUGS, cassettes

from sonde_rules import CASSETTES
from sonde_unlock.cassette import Cassette
from sonde_unlock.reading import read_document

WORLD = read_document((CASSETTES / "world.yaml").read_text(), "world.yaml", 1 << 16)[0]
COUNTRIES = ("SE", "JP", "DE", "US", "NL", "GB")
"""Of the lab's exits and vantages, and one more."""


def _there(slug: str, country: str, family: int) -> Cassette:
    said: Mapping[str, str] = {**WORLD["default"], **WORLD["countries"].get(country, {})}
    (cassette,) = [
        one for one in cassettes(slug) if one.behaviour == said[slug] and one.family in (0, family)
    ]
    return cassette


def test_every_rule_is_played_everywhere() -> None:
    """By default too, so that no request of any rule goes unanswered."""
    assert sorted(WORLD["default"]) == SLUGS
    assert set(WORLD["countries"]) == set(COUNTRIES)


@pytest.mark.parametrize("country", [*COUNTRIES, "ZZ"])
def test_what_is_played_in_a_country_was_seen_from_there(country: str) -> None:
    """A cassette of Sweden plays in Sweden; one of no country plays anywhere."""
    for slug in SLUGS:
        for family in (4, 6):
            assert _there(slug, country, family).country in ("", country)


@pytest.mark.parametrize("slug", ENABLED)
def test_countries_differ(slug: str) -> None:
    """At least two verdicts of each platform that is on, among the lab's countries."""
    verdicts = {_there(slug, country, 4).expect.verdict for country in COUNTRIES}
    assert len(verdicts) >= 2


def test_families_differ() -> None:
    """Where the same exit is somebody else over IPv6."""
    split = {
        (slug, country)
        for slug in SLUGS
        for country in COUNTRIES
        if _there(slug, country, 4).expect.verdict is not _there(slug, country, 6).expect.verdict
    }
    assert split == {("netflix", "SE"), ("youtube-premium", "DE")}
