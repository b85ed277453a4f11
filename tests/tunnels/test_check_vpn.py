"""`sonde-agent check vpn FILE` and `--through FILE`, as root types them at a vantage of the lab."""

import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from support.programs import BIN

from sonde_lab.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("lab")]

EXIT_URL = "http://203.0.113.1/ip"
WIREGUARD = "lab-wg/se-sto-wg-001.conf"
WAYS = {
    "wg-se": WIREGUARD,
    "ovpn-de-udp": "lab-ovpn/de-fra-udp-001.ovpn",
    "ovpn-de-tcp": "lab-ovpn/de-ber-tcp-001.ovpn",
    "ike-us": "lab-ike/us-chi-ike-001.sswan",
}
STAGES = {
    "wg-se": {"handshake_ms"},
    "ovpn-de-udp": {"transport_ms", "handshake_ms", "auth_ms", "configured_ms"},
    "ovpn-de-tcp": {"transport_ms", "handshake_ms", "auth_ms", "configured_ms"},
    "ike-us": {"transport_ms", "handshake_ms", "auth_ms", "configured_ms"},
}


def check(lab: Lab, *argv: str, account: str = "lab") -> CompletedProcess[str]:
    """Run `sonde-agent check` with the files of an account."""
    secrets = lab.folder / "secrets"
    account_files = ["--username-file", f"{secrets}/{account}.username"]
    account_files += ["--password-file", f"{secrets}/{account}.password"]
    return lab.run("ams", [BIN / "sonde-agent", "check", *argv, *account_files])


def vpn(lab: Lab, file: str, *argv: str, account: str = "lab") -> tuple[int, dict[str, Any]]:
    """Give exit code and row of `check vpn FILE --json`."""
    done = check(lab, "vpn", str(lab.profiles / file), "--json", *argv, account=account)
    assert done.stderr == ""
    (result,) = json.loads(done.stdout)
    return done.returncode, result["performance"]


@pytest.mark.parametrize("key", WAYS)
def test_a_profile_of_each_protocol_tells_stages_paths_exit_and_speed(lab: Lab, key: str) -> None:
    """Stages, ping direct and through, loss, speed and exit are in the JSON; exit and delay are the truth."""
    truth = next(one for one in lab.truth()["servers"] if one["key"] == key)
    urls = ("--exit-url", EXIT_URL, "--url", "http://203.0.113.1/bytes", "--seconds", "2s")
    code, row = vpn(lab, WAYS[key], "--count", "5", *urls)
    assert code == 0
    assert row["connection_success"]
    assert "failure" not in row
    assert (row["protocol"], row["exit_address"]) == (truth["protocol"], truth["exit_address"])
    assert {name for name in row if name.endswith("_ms")} >= STAGES[key] | {"first_byte_ms"}
    assert row["connection_time_ms"] == pytest.approx(sum(row[name] for name in STAGES[key]), abs=0.01)
    assert row["direct_ping_ms"] == pytest.approx(truth["rtt_ms"]["ams"], abs=2)
    assert row["ping_ms"] == pytest.approx(truth["rtt_ms"]["ams"], abs=4)
    assert (row["sent"], row["packet_loss_pct"]) == (5, (5 - row["received"]) / 5 * 100)
    assert row["download_mbps"] > 1


def test_the_report_says_the_same_in_words(lab: Lab) -> None:
    """Verdict, stages, both pings and the exit stand in the text."""
    done = check(lab, "vpn", str(lab.profiles / WIREGUARD), "--count", "3", "--exit-url", EXIT_URL)
    assert done.returncode == 0, done.stderr
    for words in (
        "→ WireGuard (IPv4)",
        "✓ connected in ",
        "handshake",
        "direct ",
        "through ",
        "203.0.113.101",
    ):
        assert words in done.stdout


@pytest.mark.parametrize(
    ("file", "failure", "stage"),
    [
        ("wg-unknown-key.conf", "timeout", "handshake"),
        ("wg-silent.conf", "timeout", "transport"),
        ("wg-not-a-vpn.conf", "refused", "transport"),
        ("wg-no-traffic.conf", "timeout", "first_byte"),
        ("wg-leaky.conf", "leak", "first_byte"),
        ("wg-busy.conf", "busy", "handshake"),
        ("wg-garbage.conf", "protocol", "handshake"),
        ("ovpn-udp-silent.ovpn", "timeout", "transport"),
        ("ovpn-udp-garbage.ovpn", "protocol", "transport"),
        ("ovpn-udp-not-a-vpn.ovpn", "refused", "transport"),
        ("ovpn-udp-expired-cert.ovpn", "certificate", "handshake"),
        ("ovpn-tcp-silent.ovpn", "timeout", "transport"),
        ("ovpn-tcp-garbage.ovpn", "protocol", "handshake"),
        ("ovpn-tcp-not-a-vpn.ovpn", "refused", "transport"),
        ("ovpn-udp-untrusted.ovpn", "certificate", "handshake"),
        ("ike-silent.sswan", "timeout", "transport"),
        ("ike-garbage.sswan", "protocol", "transport"),
        ("ike-not-a-vpn.sswan", "refused", "transport"),
        ("ike-untrusted.sswan", "certificate", "auth"),
    ],
)
def test_what_is_broken_is_told_by_its_own_name(lab: Lab, file: str, failure: str, stage: str) -> None:
    """Each server that misbehaves yields its failure and stage, never success."""
    code, row = vpn(lab, f"faults/{file}", "--count", "3", "--exit-url", EXIT_URL, "--timeout", "5s")
    assert code == 1
    assert (row["failure"], row["stage"], row["connection_success"]) == (failure, stage, False)
    assert row["detail"]
    assert "connection_time_ms" not in row
    assert "ping_ms" not in row


@pytest.mark.parametrize("key", ["ovpn-de-udp", "ike-us"])
def test_a_refused_account_is_no_dead_server(lab: Lab, key: str) -> None:
    """Who proves nothing is told so: AUTH, in that stage."""
    code, row = vpn(lab, WAYS[key], "--count", "3", account="expired")
    assert code == 1
    assert (row["failure"], row["stage"], row["connection_success"]) == ("auth", "auth", False)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("ping", "203.0.113.1", "--count", "3"), "3 sent"),
        (("http", EXIT_URL, "--expect-body", "203.0.113.101"), "✓ 200"),
        (("tcp", "origin.example:80"), "it accepts connections"),
        (("tls", "origin.example:443", "--insecure"), "✓ TLS"),
        (("dns", "origin.example"), "203.0.113.1"),
        (("throughput", "http://203.0.113.1/bytes", "--seconds", "1s"), "download "),
    ],
)
def test_every_other_check_goes_through_a_profile(lab: Lab, argv: tuple[str, ...], words: str) -> None:
    """With --through the check's own report follows the tunnel's line; the world sees the server's exit."""
    done = check(lab, *argv, "--through", str(lab.profiles / WIREGUARD))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "→ WireGuard (IPv4), ✓ connected in" in done.stdout
    assert words in done.stdout


@pytest.mark.parametrize("key", ["wg-se", "ovpn-de-udp", "ike-us"])
def test_a_handshake_alone_is_told_as_such(lab: Lab, key: str) -> None:
    """No tunnel is made: success, a handshake's time, no connection time, and a flag that says it."""
    code, row = vpn(lab, WAYS[key], "--handshake-only")
    assert code == 0
    assert row["connection_success"]
    assert row["backend"] == "probe"
    assert "handshake_only" in row["quality"]
    assert "handshake_ms" in row
    assert "connection_time_ms" not in row


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("evil.conf", "[Interface]\nPostUp = touch /tmp/x\n", "evil.conf:2:"),
        ("evil.ovpn", "client\nup /tmp/x\nplugin /tmp/y\n", "evil.ovpn:2:"),
        ("gone.conf", None, "gone.conf"),
        ("what.txt", "x", "what.txt"),
    ],
)
def test_a_profile_that_can_not_be_used_ends_in_clear_lines(
    lab: Lab, tmp_path: Path, name: str, text: str | None, words: str
) -> None:
    """Each mistake is one line with file and line; nothing is opened, the exit code is 2."""
    if text is not None:
        (tmp_path / name).write_text(text)
    done = check(lab, "vpn", str(tmp_path / name))
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert all(line.startswith("sonde-agent check vpn: ") for line in done.stderr.splitlines())


def test_an_account_without_its_password_is_asked_for_it(lab: Lab) -> None:
    """An OpenVPN profile that needs one says which options give it."""
    done = lab.run("ams", [BIN / "sonde-agent", "check", "vpn", str(lab.profiles / WAYS["ovpn-de-udp"])])
    assert done.returncode == 2
    assert "--password-file" in done.stderr
    assert done.stderr.count("\n") == 1
