"""Handshakes without a tunnel and without a capability, with the lab's servers: good, bad and strange."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sonde_lab.lab import Lab

pytest_plugins = ["support.lab"]
pytestmark = [pytest.mark.root, pytest.mark.xdist_group("lab")]

PROGRAM = Path(__file__).parents[1] / "support" / "one_handshake.py"
NO_CAPABILITY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs")
SILENCE = ("FAILURE_TIMEOUT", "STAGE_HANDSHAKE")


def shake(lab: Lab, *profiles: str, account: str = "lab", **orders: Any) -> list[dict[str, Any]]:
    """What handshakes with the servers of these profiles yield, one after the other, at the first vantage."""
    for what in ("username", "password"):
        orders[what] = (lab.folder / "secrets" / f"{account}.{what}").read_text().strip()
    orders["profiles"] = [str(lab.profiles / profile) for profile in profiles]
    with lab.popen(
        lab.vantages[0],
        [*NO_CAPABILITY, sys.executable, PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        told, errors = process.communicate(json.dumps(orders) + "\n", timeout=60)
    assert process.returncode == 0, errors
    return [json.loads(line) for line in told.splitlines()]


@pytest.mark.parametrize(
    "server",
    ["wg-se", "wg-jp", "ike-us"],
)
@pytest.mark.parametrize("profile", ["profile", "profile6"])
def test_a_handshake_of_one_round_trip_takes_one(lab: Lab, server: str, profile: str) -> None:
    """WireGuard and IKE_SA_INIT take, at best, the path's round trip within 3 ms, over both families."""
    truth = next(known for known in lab.truth()["servers"] if known["key"] == server)
    path = Path(truth[profile]).relative_to("profiles")
    many = shake(lab, *[str(path)] * 8)
    family = 6 if profile.endswith("6") else 4
    assert {(made["failure"], made["family"]) for made in many} == {("FAILURE_NONE", family)}, many
    took = min(sum(made["stages"].values()) for made in many)
    assert -0.1 < took - truth["rtt_ms"][lab.vantages[0]] < 3, many


@pytest.mark.parametrize(("server", "turns"), [("ovpn-de-udp", 4), ("ovpn-de-tcp", 5)])
def test_openvpn_connects_without_a_device(lab: Lab, server: str, turns: int) -> None:
    """OpenVPN's stages are there up to the assigned address, and take a few round trips of the path."""
    truth = next(known for known in lab.truth()["servers"] if known["key"] == server)
    many = shake(lab, *[str(Path(truth["profile"]).relative_to("profiles"))] * 3)
    assert [made["failure"] for made in many] == ["FAILURE_NONE"] * 3, many
    stages = ["STAGE_TRANSPORT", "STAGE_HANDSHAKE", "STAGE_AUTH", "STAGE_CONFIGURED"]
    assert all(list(made["stages"]) == stages for made in many)
    rtt_ms = truth["rtt_ms"][lab.vantages[0]]
    assert 0 <= min(made["stages"]["STAGE_TRANSPORT"] for made in many) - rtt_ms < 5, many
    assert min(sum(made["stages"].values()) for made in many) > turns * rtt_ms


@pytest.mark.parametrize(
    ("profile", "end"),
    [
        ("wg-unknown-key.conf", SILENCE),
        ("wg-silent.conf", SILENCE),
        ("wg-garbage.conf", ("FAILURE_PROTOCOL", "STAGE_HANDSHAKE")),
        ("wg-busy.conf", ("FAILURE_BUSY", "STAGE_HANDSHAKE")),
        ("wg-not-a-vpn.conf", ("FAILURE_REFUSED", "STAGE_TRANSPORT")),
        ("ike-silent.sswan", ("FAILURE_TIMEOUT", "STAGE_TRANSPORT")),
        ("ike-garbage.sswan", ("FAILURE_PROTOCOL", "STAGE_HANDSHAKE")),
        ("ike-not-a-vpn.sswan", ("FAILURE_REFUSED", "STAGE_TRANSPORT")),
        ("ovpn-udp-expired-cert.ovpn", ("FAILURE_CERTIFICATE", "STAGE_HANDSHAKE")),
        ("ovpn-udp-not-a-vpn.ovpn", ("FAILURE_REFUSED", "STAGE_TRANSPORT")),
        ("ovpn-tcp-not-a-vpn.ovpn", ("FAILURE_REFUSED", "STAGE_TRANSPORT")),
    ],
)
def test_each_fault_has_its_own_failure_and_stage(lab: Lab, profile: str, end: tuple[str, str]) -> None:
    """No faulty server yields a handshake, and each says in which way it is at fault."""
    (made,) = shake(lab, f"faults/{profile}", seconds=2)
    assert (made["failure"], made["stage"]) == end, made
    assert made["detail"]
    assert "STAGE_HANDSHAKE" not in made["stages"]


@pytest.mark.parametrize("account", ["expired", "bad-password"])
def test_a_refused_account_is_told_as_such(lab: Lab, account: str) -> None:
    """A server that is alive and refuses the account fails in AUTH, not in its handshake."""
    (made,) = shake(lab, "lab-ovpn/de-fra-udp-001.ovpn", account=account)
    assert (made["failure"], made["stage"]) == ("FAILURE_AUTH", "STAGE_AUTH"), made
    assert "STAGE_HANDSHAKE" in made["stages"]


def test_a_denied_address_gets_no_packet(lab: Lab) -> None:
    """What the policy forbids is refused before anything is sent."""
    profile = "lab-wg/se-sto-wg-001.conf"
    (made,) = shake(lab, profile)
    (refused,) = shake(lab, profile, denied=[made["address"]])
    assert (refused["failure"], refused["stages"], refused["detail"]) == ("FAILURE_POLICY", {}, "denied")
