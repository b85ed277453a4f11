"""Keys of listed servers are for ever, whatever happens to their files."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.model import Provider, Server
from sonde_collector.inventory.roster import Roster, roster
from sonde_collector.inventory.way import Listed, Reading, Way

EMPTY: dict[str, Any] = {"servers": [], "profiles": []}


def listed(name: str, host: str, protocol: str = "WireGuard", city: str | None = "Berlin") -> Listed:
    """Give what a file says."""
    way = Way(protocol, "acc", f"{name}.conf", host, 51820)
    return Listed("acme", f"{name}.conf", name, "DE", city, host, None, way, "" if city else "no city")


def join(*files: Listed, current: dict[str, Any] = EMPTY, by_hand: tuple[Server, ...] = ()) -> Roster:
    """Give the roster of one source."""
    fleet = Fleet(provider=(Provider(key="acme", name="Acme"),), server=by_hand)
    return roster(fleet, [Reading("acme", "acc", "folder", files)], current)


def stored(of: Roster) -> dict[str, Any]:
    """Give the database as an apply of `of` leaves it."""
    servers = [
        {"key": one.key, "provider": one.provider, "hostname": one.hostname, "ip_address": one.ip_address}
        for one in of.fleet.server
    ]
    profiles = [
        {
            "server": key,
            "protocol": way.protocol,
            "credential": way.credential,
            "profile": way.profile,
            "placed": way.placed,
        }
        for key, ways in of.ways.items()
        for way in ways
    ]
    return {"servers": servers, "profiles": profiles}


def keys(of: Roster) -> dict[str, str]:
    """Give host → key."""
    return {str(one.hostname): one.key for one in of.fleet.server}


def test_files_of_one_host_are_one_server() -> None:
    """Two protocols at one host are one server with two ways; a second file for one of them is left out."""
    one = join(
        listed("de-1", "h"), listed("de-1-u", "h", "OpenVPN-UDP"), listed("de-1-v", "h", "OpenVPN-UDP")
    )
    assert keys(one) == {"h": "acme-de-1"}
    assert [way.profile for way in one.ways["acme-de-1"]] == ["de-1.conf", "de-1-u.conf"]
    assert one.second == ("de-1-v.conf: OpenVPN-UDP to h is in de-1-u.conf already",)
    assert one.fleet.server[0].protocols == ("WireGuard", "OpenVPN-UDP")


def test_a_file_that_moves_keeps_its_server() -> None:
    """Neither a new address in the file nor a new name of the file makes another server."""
    before = stored(join(listed("de-1", "old"), listed("de-2", "two")))
    assert keys(join(listed("de-1", "new"), listed("de-2", "two"), current=before))["new"] == "acme-de-1"
    renamed = join(listed("berlin-1", "old"), listed("de-2", "two"), current=before)
    assert keys(renamed) == {"old": "acme-de-1", "two": "acme-de-2"}


def test_a_file_before_the_first_takes_no_key_away() -> None:
    """A second protocol whose file comes first by name does not rename the server."""
    before = stored(join(listed("de-1", "h")))
    after = join(listed("aa", "h", "OpenVPN-TCP"), listed("de-1", "h"), current=before)
    assert keys(after) == {"h": "acme-de-1"}


def test_a_server_written_by_hand_takes_the_profiles_of_its_host() -> None:
    """A [[server]] with the host of a file is that server; the file's name need not place it."""
    own = Server("mine", "acme", "Berlin", "DE", hostname="h", ip_address="192.0.2.1")
    one = join(listed("x", "h", city=None), by_hand=(own,))
    assert list(one.ways) == ["mine"]
    assert one.unmatched == ()
    assert one.fleet.server[0].protocols == ("WireGuard",)


def test_what_is_not_placed_is_listed() -> None:
    """A file without a city is no server, and is told."""
    one = join(listed("x", "h", city=None))
    assert one.fleet.server == ()
    assert one.unmatched == ("x.conf: no city",)


NAMES = st.text("ab-. /ü", min_size=1, max_size=4)
FILES = st.lists(st.tuples(NAMES, st.sampled_from("pqrstu")), max_size=8, unique_by=lambda one: one[0])


@given(first=FILES, second=FILES)
def test_keys_are_unique_and_stable(first: list[tuple[str, str]], second: list[tuple[str, str]]) -> None:
    """Every server has its own key, the same in a second apply; a host that stays with its files keeps it."""
    one = join(*(listed(*file) for file in first))
    assert len({server.key for server in one.fleet.server}) == len(one.fleet.server)
    assert keys(join(*(listed(*file) for file in first), current=stored(one))) == keys(one)
    other = join(*(listed(*file) for file in second), current=stored(one))
    assert len({server.key for server in other.fleet.server}) == len(other.fleet.server)
    for host, key in keys(one).items():
        if {file for file in first if file[1] == host} == {file for file in second if file[1] == host}:
            assert keys(other)[host] == key
