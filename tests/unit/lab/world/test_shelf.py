"""What the lab's world holds: every behaviour on its map, every name, and what mishaps are to a rule."""

import pytest
from support.unlock_rules import ENABLED, play

from sonde_lab.topology import SERVERS, SMART_CITY, vantages
from sonde_lab.world import expected
from sonde_lab.world.atlas import Atlas, Changes, addresses
from sonde_lab.world.mishaps import MISHAPS
from sonde_lab.world.shelf import MAP, Shelf, read_map
from sonde_rules import CASSETTES, RULES

SHELF = Shelf.read(CASSETTES, RULES)
ATLAS = Atlas.new(read_map(CASSETTES / MAP), addresses(vantages(12)))
PLACES = sorted({*ATLAS.addresses.values()})


@pytest.mark.parametrize("country", PLACES)
def test_everything_on_the_map_can_be_played(country: str) -> None:
    """Wherever a caller is, each platform's behaviour has a cassette for IPv4 and, if it has names, IPv6."""
    behaviours = ATLAS.behaviours(country, Changes())
    assert behaviours.keys() >= set(ENABLED)
    for slug, behaviour in behaviours.items():
        for family in expected.FAMILIES:
            assert SHELF.expected(slug, behaviour, family) is not None, (slug, behaviour, family)


def test_the_map_tells_the_labs_countries_apart() -> None:
    """For the enabled platforms, no two countries of servers look alike, and the smart proxy's is another."""
    places = {server.city.country for server in SERVERS} | {SMART_CITY.country}
    seen = {
        tuple(SHELF.expected(slug, ATLAS.behaviours(country, Changes())[slug], 4) for slug in ENABLED)
        for country in places
    }
    assert len(seen) == len(places)


@pytest.mark.parametrize("slug", ENABLED)
@pytest.mark.parametrize("mishap", MISHAPS)
def test_a_mishap_is_to_every_rule_what_it_says(slug: str, mishap: str) -> None:
    """Whatever platform a mishap comes upon, its rule says what the lab's truth says."""
    cassette = SHELF.cassette(slug, mishap, 4)
    assert cassette is not None
    assert play(cassette).verdict is MISHAPS[mishap][1]


def test_changes_are_read_as_written() -> None:
    """What a test changes comes back as it was, and what is no change is refused."""
    changes = Changes({"203.0.113.101": "DE"}, {"DE": {"netflix": "lab-reset"}})
    assert Changes.read(changes.written()) == changes
    assert ATLAS.country("203.0.113.101", changes) == "DE"
    assert ATLAS.behaviours("DE", changes)["netflix"] == "lab-reset"
    with pytest.raises(ValueError, match="addresses"):
        Changes.read('{"country": {}}')
