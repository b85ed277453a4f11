"""What does not work is told as what it is: its own failure, its stage, its words, and never a success."""

import re
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest
from support.lab_checks import NOBODY, Checked, account, check

from sonde_lab.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("lab")]

_PATIENCE = "4s"  # for the silent ones; the slowest good handshake takes a quarter of it
_STRANGER = "no answer to the handshake: .*, or it does not know this key .*"
_NO_OPENVPN = "what answers is no OpenVPN of this profile: .*"
_CLOSED = "the port is closed|UDP port [0-9]+ is closed: .*"


@dataclass(frozen=True)
class Fault:
    """A profile with an account that does not work, and what has to be said of it.

    Attributes:
        profile: under profiles/.
        failure, stage: as reported.
        words: pattern of the whole detail.
        shaken: how `--handshake-only` reports it where that sees something else; "" = a handshake was made.
        account: whose.
    """

    profile: str
    failure: str
    stage: str
    words: str
    shaken: str | None = None
    account: str = "lab"

    @property
    def name(self) -> str:
        """For a person."""
        return Path(self.profile).stem + ("" if self.account == "lab" else f" {self.account}")


_REFUSED_ACCOUNTS = [
    Fault(profile, "auth", "auth", "the server refuses the account.*", shaken, account)
    for account in ("bad-password", "expired")
    for profile, shaken in (
        ("lab-ovpn/de-fra-udp-001.ovpn", None),
        ("lab-ovpn/de-ber-tcp-001.ovpn", None),
        ("lab-ike/us-chi-ike-001.sswan", ""),
    )
]
FAULTS = [
    Fault("faults/wg-unknown-key.conf", "timeout", "handshake", _STRANGER),
    Fault("faults/wg-silent.conf", "timeout", "transport", _STRANGER),
    Fault("faults/wg-garbage.conf", "protocol", "handshake", ".* something that is not WireGuard"),
    Fault("faults/wg-not-a-vpn.conf", "refused", "transport", _CLOSED),
    Fault("faults/wg-busy.conf", "busy", "handshake", ".* under load: it answered with a cookie reply"),
    Fault("faults/wg-no-traffic.conf", "timeout", "first_byte", ".* is up, but nothing .*through it.*", ""),
    Fault("faults/wg-leaky.conf", "leak", "first_byte", ".* 198.51.100.12 .* is this host's own address", ""),
    Fault("faults/ovpn-udp-silent.ovpn", "timeout", "transport", "no answer"),
    Fault("faults/ovpn-udp-garbage.ovpn", "protocol", "transport", _NO_OPENVPN),
    Fault("faults/ovpn-udp-not-a-vpn.ovpn", "refused", "transport", _CLOSED),
    Fault("faults/ovpn-udp-expired-cert.ovpn", "certificate", "handshake", ".*certificate has expired"),
    Fault("faults/ovpn-udp-untrusted.ovpn", "certificate", "handshake", ".*certificate is refused: self.*"),
    Fault("faults/ovpn-tcp-silent.ovpn", "timeout", "transport", "no answer.*"),
    Fault("faults/ovpn-tcp-garbage.ovpn", "protocol", "handshake", _NO_OPENVPN),
    Fault("faults/ovpn-tcp-not-a-vpn.ovpn", "refused", "transport", _CLOSED),
    Fault("faults/ike-silent.sswan", "timeout", "transport", "no answer.*"),
    Fault("faults/ike-garbage.sswan", "protocol", "transport", "what answers is no IKEv2", "protocol"),
    Fault("faults/ike-not-a-vpn.sswan", "refused", "transport", _CLOSED),
    Fault("faults/ike-untrusted.sswan", "certificate", "auth", ".*refused: no issuer certificate .*", ""),
    *_REFUSED_ACCOUNTS,
]

SHAKEN = [fault for fault in FAULTS if fault.account != "expired"]
"""Both refused accounts shake hands alike, and strongSwan blocks who leaves it many half-open handshakes."""

Runs: TypeAlias = dict[tuple[str, bool], Future[Checked]]


@pytest.fixture(scope="module")
def readable(lab: Lab) -> Iterator[Path]:
    """A folder with copies of the profiles and accounts that a user without privilege may read."""
    with tempfile.TemporaryDirectory(prefix="sonde-nobody-") as name:  # pytest's own is its user's alone
        folder = Path(name)
        for source in (lab.profiles, lab.folder / "secrets"):
            shutil.copytree(source, folder, dirs_exist_ok=True)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        yield folder


@pytest.fixture(scope="module")
def runs(lab: Lab, readable: Path) -> Iterator[Runs]:
    """Every fault's check by its name, a whole one by root (False) and a handshake by nobody (True)."""
    common = ("--timeout", _PATIENCE, "--count", "2")
    asked = (*common, "--exit-url", lab.truth()["origin"]["ip_url"])
    started: Runs = {}
    pool = ThreadPoolExecutor(4)  # they mostly wait, and each test waits for its own
    for fault in FAULTS:
        secrets = account(lab.folder / "secrets", fault.account)
        words = ("vpn", lab.profiles / fault.profile, *asked, *secrets)
        started[fault.name, False] = pool.submit(check, lab, "nyc", *words)
    for fault in SHAKEN:
        words = ("vpn", readable / fault.profile, *common, *account(readable, fault.account))
        started[fault.name, True] = pool.submit(check, lab, "nyc", *words, "--handshake-only", user=NOBODY)
    yield started
    pool.shutdown(cancel_futures=True)


def test_every_fault_of_the_lab_is_judged_here(lab: Lab) -> None:
    """The table above holds each faulty profile that the lab writes, and no other."""
    written = {f"faults/{file.name}" for file in (lab.profiles / "faults").iterdir()}
    assert {fault.profile for fault in FAULTS if fault.profile.startswith("faults/")} == written


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_told_as_what_it_is(fault: Fault, runs: Runs) -> None:
    """`check vpn` exits with 1 and reports the fault's failure and stage in one line, and nothing else."""
    done = runs[fault.name, False].result()
    assert done.row.get("connection_success") is False, done.row
    assert (done.code, done.row["failure"], done.row["stage"]) == (1, fault.failure, fault.stage), done.row
    assert re.fullmatch(fault.words, done.row["detail"]), done.row["detail"]
    assert "connection_time_ms" not in done.row
    assert "download_mbps" not in done.row
    assert "packet_loss_pct" not in done.row or fault.stage == "first_byte"
    assert done.said == ""


@pytest.mark.parametrize("fault", SHAKEN, ids=lambda fault: fault.name)
def test_a_handshake_needs_no_privilege_and_is_as_honest(fault: Fault, runs: Runs) -> None:
    """`--handshake-only` as nobody tells the same, but for what shows only after the handshake it makes."""
    done = runs[fault.name, True].result()
    assert done.said == ""
    assert done.row["quality"] == ["handshake_only"]
    if fault.shaken == "":
        assert (done.code, done.row["connection_success"]) == (0, True), done.row
        assert "auth_ms" not in done.row
    else:
        assert (done.code, done.row["connection_success"]) == (1, False)
        assert done.row["failure"] == fault.failure, done.row
        assert fault.shaken or done.row["stage"] == fault.stage, done.row
        assert "\n" not in done.row["detail"]


def test_silence_is_silence_at_the_deadline_too(lab: Lab) -> None:
    """At any deadline OpenVPN's silence is TIMEOUT and its noise PROTOCOL, never a lost connection."""
    secrets = account(lab.folder / "secrets")
    with ThreadPoolExecutor(6) as pool:
        ran = [
            (failure, pool.submit(check, lab, "ams", "vpn", file, "--timeout", f"{limit_s}s", *secrets))
            for limit_s in (1.3, 2.9)
            for failure, name in (("timeout", "silent"), ("protocol", "garbage"))
            for file in (lab.profiles / "faults" / f"ovpn-udp-{name}.ovpn",)
        ]
    for failure, future in ran:
        row = future.result().row
        assert (row["failure"], row["stage"]) == (failure, "transport"), row


def test_a_tunnel_that_passes_nothing_is_no_success_without_an_exit_url(lab: Lab) -> None:
    """A tunnel through which no echo comes back is a failure also where nobody asks for the exit."""
    done = check(lab, "ams", "vpn", lab.profiles / "faults" / "wg-no-traffic.conf", "--count", "2")
    assert (done.code, done.row["failure"], done.row["stage"]) == (1, "timeout", "first_byte"), done.row
    assert done.row["detail"] == "the tunnel is up, but nothing comes through it"


@pytest.mark.parametrize(
    "words",
    [["vpn", "se-sto-wg-001.conf"], ["ping", "10.61.0.1", "--through", "se-sto-wg-001.conf"]],
    ids=["vpn", "through"],
)
def test_a_tunnel_without_privilege_is_refused_in_words(lab: Lab, words: list[str], readable: Path) -> None:
    """A user who may open no tunnel gets exit code 2, one line that says PERMISSION, and what to do."""
    folder = readable / "lab-wg"
    done = check(lab, "ams", *(folder / word if ".conf" in word else word for word in words), user=NOBODY)
    instead = "; without it: --handshake-only" if words[0] == "vpn" else ""
    said = f"sonde-agent check {words[0]}: PERMISSION: a tunnel by a file needs root{instead}\n"
    assert (done.code, done.rows, done.said) == (2, [], said)


def test_a_good_tunnel_by_hand_says_its_report_alone(lab: Lab) -> None:
    """A run that works prints its report on standard output and nothing on standard error."""
    done = check(lab, "ams", "vpn", lab.profiles / "lab-wg" / "se-sto-wg-001.conf", "--count", "1")
    assert (done.code, done.row["connection_success"], done.said) == (0, True, "")
