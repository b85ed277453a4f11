"""Unlock checks through real tunnels, in a world whose truth is known."""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest
from support.unlock_rules import ENABLED, SLUGS
from support.unlock_tunnels import Asker, Unlocked

from sonde_lab.lab import Lab
from sonde_lab.topology import SERVERS
from sonde_lab.world.atlas import Changes
from sonde_lab.world.expected import FAMILIES, SMART
from sonde_lab.world.mishaps import MISHAPS

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("lab")]

BY_KEY = {server.key: server for server in SERVERS}
WITHIN_S = 60.0
MOST_MB = 90.0

ByFamily: TypeAlias = dict[int, Unlocked]


@pytest.fixture(scope="module")
def asker(lab: Lab) -> Iterator[Asker]:
    """Somebody who asks; whatever the rules asked in this module, a cassette has answered."""
    with tempfile.TemporaryDirectory(prefix="sonde-unlock-") as folder:
        one = Asker(lab, Path(folder))
        before = one.unmatched()
        yield one
        assert one.unmatched() == before


def profile(lab: Lab, key: str) -> str:
    """The profile of a server, or of those who have smart DNS."""
    truth = lab.truth()
    found = truth["smart"] if key == SMART else next(one for one in truth["servers"] if one["key"] == key)
    return str(found["profile"])


def in_germany(*keys: str) -> Changes:
    """Let the exits of these servers be in Germany."""
    return Changes(addresses={address: "DE" for key in keys for address in BY_KEY[key].exit})


@pytest.fixture(scope="module")
def runs(asker: Asker, lab: Lab) -> Iterator[Mapping[str, Future[ByFamily]]]:
    """Every server's runs, and the vantages' own: one family after the other, as a key is for one tunnel."""

    def both(vantage: str, file: str) -> ByFamily:
        return {family: asker.ask(vantage, *ENABLED, profile=file, family=family) for family in FAMILIES}

    pool = ThreadPoolExecutor(4)  # they mostly wait, and each test waits for its own
    started = {key: pool.submit(both, "nyc", profile(lab, key)) for key in (*BY_KEY, SMART)}
    yield started | {code: pool.submit(both, code, "") for code in lab.vantages}
    pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("key", [*BY_KEY, SMART, "ams", "nyc"])
def test_every_exit_is_judged_as_it_is(
    key: str, family: int, asker: Asker, runs: Mapping[str, Future[ByFamily]]
) -> None:
    """Through every server and directly, each enabled rule says what is true, on IPv4 and on IPv6."""
    assert runs[key].result()[family].said == asker.truth(key, family, ENABLED)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rule_says_the_same_through_every_protocol(family: int, asker: Asker, lab: Lab) -> None:
    """To exits of one country by WireGuard, OpenVPN (UDP, TCP), IKEv2: the same verdicts, and true ones."""
    keys = ("wg-se", "ovpn-de-udp", "ovpn-de-tcp", "ike-us")
    with asker.changed(in_germany("wg-se", "ike-us")), ThreadPoolExecutor(len(keys)) as pool:
        ran = {
            key: pool.submit(asker.ask, "ams", *ENABLED, profile=profile(lab, key), family=family)
            for key in keys
        }
        said = {key: future.result().said for key, future in ran.items()}
        true = asker.truth("ovpn-de-udp", family, ENABLED)
    assert said == dict.fromkeys(keys, true)
    assert true["netflix"][2] == "DE"


def test_what_resolvers_lead_to_is_told_from_what_the_exit_is(asker: Asker, lab: Lab) -> None:
    """With smart DNS a platform sees the proxy's country, and access is told to come by the resolver."""
    smart = asker.ask("ams", *ENABLED, profile=profile(lab, SMART))
    native = asker.ask("ams", *ENABLED, profile=profile(lab, "wg-jp"))
    access = {slug for slug, row in smart.rows.items() if row["verdict"] in ("available", "partial")}
    assert {smart.rows[slug]["via"] for slug in access} == {"dns_proxy"}
    assert {"netflix", "bbc-iplayer"} <= access
    assert smart.rows["netflix"]["region"] == "GB"
    assert smart.rows["netflix"]["evidence"]["pinned"] == {"verdict": "available", "region": "JP"}
    assert native.said["netflix"] == ("available", "full", "JP", "native")


def test_all_rules_together_are_quick_and_small(asker: Asker, lab: Lab) -> None:
    """`--all` through a tunnel ends in time, and no process of it needs more than 90 MB."""
    ran = asker.ask("ams", profile=profile(lab, "wg-se"), within_s=WITHIN_S)
    most = max(ran.peak_mb, key=lambda line: ran.peak_mb[line])
    told = f"{len(ran.rows)} rules in {ran.seconds:.1f} s, at most {ran.peak_mb[most]:.1f} MB ({most[-90:]})"
    sys.stdout.write(f"\n{told}\n")  # pytest -s shows it
    assert set(ran.rows) == set(SLUGS)
    assert ran.said == asker.truth("wg-se", 4, SLUGS)
    assert ran.peak_mb[most] < MOST_MB, told


def test_nothing_is_asked_beside_the_tunnel(asker: Asker, lab: Lab) -> None:
    """During a run in a tunnel, packets to platforms and questions of their names are the exit's alone."""
    hosts = set(lab.truth()["platforms"])
    vantage = lab.truth()["vantages"][0]
    log = lab.folder / "logs" / "dnsmasq.log"
    before, questions = lab.truth()["callers"], len(log.read_text().splitlines())
    asker.ask("ams", *ENABLED, profile=profile(lab, "wg-se"))
    after, new = lab.truth()["callers"], log.read_text().splitlines()[questions:]
    came = {address for address, count in after.items() if count > before.get(address, 0)}
    assert came == {BY_KEY["wg-se"].exit[0]}
    assert vantage["ipv4"] not in came
    asked = [line.split("query[", 1)[1].split() for line in new if "query[" in line]
    # The trusted resolver hands on what it is asked over TLS, under its own address.
    assert {words[3] for words in asked if words[1] in hosts} == {BY_KEY["wg-se"].exit[0], "203.0.113.53"}


def test_each_mishap_is_told_as_what_it_is(asker: Asker, lab: Lab) -> None:
    """One exit, a different mishap to each platform: each verdict is its mishap's, and none is available."""
    chosen = {
        "netflix": "lab-reset",
        "disney-plus": "lab-truncated",
        "hbo-max": "lab-tls-alert",
        "prime-video": "lab-challenge",
        "bbc-iplayer": "lab-timeout",
        "hulu": "lab-slow-body",
        "youtube-premium": "lab-consent",
        "dazn": "lab-rate-limited",
    }
    with asker.changed(Changes(countries={"SE": chosen})):
        ran = asker.ask("ams", *ENABLED, profile=profile(lab, "wg-se"))
        assert ran.said == asker.truth("wg-se", 4, ENABLED)
    assert {slug: row["verdict"] for slug, row in ran.rows.items()} == {
        slug: MISHAPS[mishap][1] for slug, mishap in chosen.items()
    }
    assert ran.rows["dazn"]["evidence"]["retry_after_s"] == 120


def test_a_blocked_exit_is_told_from_a_stale_rule(asker: Asker, lab: Lab) -> None:
    """Where the exit alone is refused, the vantage is not; where the page has changed, both know nothing."""
    file = profile(lab, "wg-se")
    with asker.changed(Changes(countries={"SE": {"netflix": "lab-challenge"}})):
        blocked = asker.ask("ams", "netflix", profile=file), asker.ask("ams", "netflix")
    with asker.changed(
        Changes(countries={"SE": {"netflix": "lab-changed"}, "NL": {"netflix": "lab-changed"}})
    ):
        stale = asker.ask("ams", "netflix", profile=file), asker.ask("ams", "netflix")
    assert [ran.rows["netflix"]["verdict"] for ran in blocked] == ["blocked", "partial"]
    assert [ran.rows["netflix"]["verdict"] for ran in stale] == ["inconclusive", "inconclusive"]
