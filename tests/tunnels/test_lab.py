"""The lab itself: its servers serve, its faults are faults, and its truth is true."""

import re
import statistics
import time
from pathlib import Path

import pytest
from support.lab_clients import ikev2, openvpn, wireguard
from support.programs import eventually

from sonde_lab import faults
from sonde_lab.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("lab")]

SE = "lab-wg/se-sto-wg-001.conf"
JP6 = "by-vantage/nyc/lab-wg6/jp-tok-wg-001.conf"
FETCH = "curl -s -m 5 http://203.0.113.1/ip"


def fault(lab: Lab, name: str) -> Path:
    """The profile of something that does not work."""
    return lab.profiles / "faults" / name


def server(lab: Lab, key: str, since_s: float = 0.0) -> dict:
    """The truth about one server."""
    return next(one for one in lab.truth(since_s)["servers"] if one["key"] == key)


def test_a_wireguard_tunnel_leaves_at_the_servers_exit(lab: Lab) -> None:
    """Through WireGuard the world sees the server's exit, on IPv4 and IPv6, and names are resolved inside."""
    truth = server(lab, "wg-se")
    inside = f"{FETCH}; curl -s -m 5 http://[2001:db8:3::1]/ip; curl -s -m 5 http://origin.example/ip"
    words = wireguard(lab, "ams", lab.profiles / SE, inside).split()
    assert words[:3] == ["handshake", truth["exit_address"], truth["exit_address6"]]
    assert wireguard(lab, "nyc", lab.profiles / JP6, FETCH).split() == ["handshake", "203.0.113.102"]


@pytest.mark.parametrize(
    "profile", ["lab-ovpn/de-fra-udp-001", "lab-ovpn/de-ber-tcp-001", "lab-ovpn6/de-fra-udp-001"]
)
def test_openvpn_connects_with_the_good_account_alone(lab: Lab, profile: str, tmp_path: Path) -> None:
    """OpenVPN's own client connects with the lab's account; a wrong password or an expired account can't."""
    file = lab.profiles / f"{profile}.ovpn"
    assert "Initialization Sequence Completed" in openvpn(lab, "ams", file, "lab", tmp_path)
    refused = "bad-password" if "udp" in profile else "expired"
    assert "AUTH_FAILED" in openvpn(lab, "ams", file, refused, tmp_path)


def test_ikev2_connects_with_the_good_account_alone(lab: Lab, tmp_path: Path) -> None:
    """StrongSwan's own client gets a CHILD_SA and addresses; with a wrong password or another CA, none."""
    good, bad, untrusted = (tmp_path / name for name in ("good", "bad", "untrusted"))
    for folder in (good, bad, untrusted):
        folder.mkdir()
    file = lab.profiles / "lab-ike" / "us-chi-ike-001.sswan"
    done = ikev2(lab, "nyc", file, "lab", good)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10.65.0." in done.stdout
    assert "CHILD_SA net{1} established" in done.stdout
    assert "EAP_MSCHAPV2 method failed" in ikev2(lab, "nyc", file, "bad-password", bad).stdout
    refused = ikev2(lab, "nyc", fault(lab, "ike-untrusted.sswan"), "lab", untrusted)
    assert refused.returncode != 0
    assert "no trusted" in refused.stdout, refused.stdout


def test_delays_are_recorded_as_they_were(lab: Lab) -> None:
    """A ping's median is what the delay line recorded there and back, plus far less than a millisecond."""
    began = time.time()
    done = lab.run("nyc", ["ping", "-c", "60", "-i", "0.02", "192.0.2.11"])
    median = statistics.median(map(float, re.findall(r"time=([\d.]+) ms", done.stdout)))
    truth = server(lab, "wg-se", began)
    line = truth["line"]["nyc"]
    recorded = line["up"]["p50_ms"] + line["down"]["p50_ms"]
    assert line["up"]["packets"] >= 60
    assert truth["rtt_ms"]["nyc"] <= recorded <= median < recorded + 1
    assert server(lab, "wg-se", time.time())["line"]["nyc"]["up"]["packets"] == 0


def test_losses_are_those_that_were_counted(lab: Lab) -> None:
    """The echoes that get no answer are as many as the server's counters say, directly and in the tunnel."""

    def counted(where: str, source: str) -> tuple[int, int]:
        one = server(lab, "wg-jp")["echoes"][where].get(source, {})
        return one.get("seen", 0), one.get("lost", 0)

    ping = "ping -c 400 -i 0.005 -q -W 2 {}"
    before = counted("direct", "198.51.100.12")
    said = lab.run("nyc", ["sh", "-c", ping.format("192.0.2.12")]).stdout
    after = counted("direct", "198.51.100.12")
    assert after[0] - before[0] == 400
    assert f"{400 - (after[1] - before[1])} received" in said
    said = wireguard(lab, "nyc", lab.profiles / JP6, ping.format("10.62.0.1"))
    seen, lost = counted("inner", "10.62.0.12")
    assert seen == 400
    assert f"{400 - lost} received" in said


def test_rates_are_those_that_are_set(lab: Lab) -> None:
    """Nothing gets through a tunnel faster than its server's rate, and a download comes near it both ways."""
    rate = server(lab, "wg-se")["rate_mbps"]
    down = "curl -s -o /dev/null -m 4 -w '%{speed_download}' http://203.0.113.1/bytes"
    up = "head -c 16000000 /dev/zero | curl -s -o /dev/null -m 9 -w '%{speed_upload}' -T - "
    up += "http://203.0.113.1/upload"
    for command in (down, up):
        speed = float(wireguard(lab, "ams", lab.profiles / SE, command).split()[1]) * 8 / 1e6
        assert 0.5 * rate < speed < rate


def test_every_origin_serves(lab: Lab) -> None:
    """HTTPS with the lab's own CA, uploads, iperf3 on each port and the reference host answer a vantage."""
    origin = lab.truth()["origin"]
    script = f"""set -e
curl -sf --cacert {lab.folder / origin["ca"]} https://origin.example/ip
head -c 1000000 /dev/zero | curl -sf -T - http://origin.example/upload
curl -sf -d abc http://203.0.113.1/upload
ping -c 1 -W 3 reference.example >/dev/null
for port in {" ".join(map(str, origin["iperf3_ports"]))}; do
  iperf3 -c 203.0.113.1 -p $port -n 10K >/dev/null
done
"""
    done = lab.run("ams", ["sh", "-c", script])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split() == ["2001:db8:1::11", "1000000", "3"]


def test_the_provider_sees_who_comes_and_goes(lab: Lab, tmp_path: Path) -> None:
    """A login raises its account's count of sessions, and its end lowers it."""
    before = lab.truth()["sessions"].get("lab", {"logins": 0})["logins"]
    openvpn(lab, "ams", lab.profiles / "lab-ovpn" / "de-ber-tcp-001.ovpn", "lab", tmp_path)

    def over() -> bool:
        user = lab.truth()["sessions"]["lab"]
        return user["logins"] > before and user["most"] >= 1

    eventually(over, 10, "no login in the provider's book")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("wg-unknown-key", ""),
        ("wg-silent", ""),
        ("wg-garbage", ""),
        ("wg-not-a-vpn", ""),
        ("wg-busy", ""),
        ("wg-no-traffic", "handshake"),
        ("wg-leaky", "handshake 198.51.100.12"),
    ],
)
def test_wireguard_faults(lab: Lab, name: str, said: str) -> None:
    """Of the faulty WireGuard servers two shake hands: one passes nothing, one tells our own address."""
    assert (
        wireguard(lab, "nyc", fault(lab, f"{name}.conf"), FETCH.replace("-m 5", "-m 1")).split()
        == said.split()
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ovpn-udp-expired-cert", "certificate has expired"),
        ("ovpn-udp-untrusted", "VERIFY ERROR"),
        ("ovpn-udp-not-a-vpn", "Connection refused"),
        ("ovpn-tcp-not-a-vpn", "Connection refused"),
        ("ovpn-tcp-garbage", "Bad encapsulated packet length"),
        ("ovpn-udp-garbage", "unknown opcode"),
    ],
)
def test_openvpn_faults(lab: Lab, name: str, said: str, tmp_path: Path) -> None:
    """OpenVPN's own client names each fault."""
    assert said in openvpn(lab, "ams", fault(lab, f"{name}.ovpn"), "lab", tmp_path)


def test_the_silent_host_answers_nothing_and_the_others_are_alive(lab: Lab) -> None:
    """Every faulty host but the silent one answers an echo."""
    for host in faults.HOSTS.values():
        alive = lab.run("ams", ["ping", "-c", "1", "-W", "1", host.ipv4]).returncode == 0
        assert alive == (host.fault != "silent"), host.fault


def test_a_busy_server_answers_with_a_cookie(lab: Lab) -> None:
    """wireguard-go accepts the busy server's cookie reply as authentic."""
    profile = fault(lab, "wg-busy.conf")
    script = """
LOG_LEVEL=verbose WG_PROCESS_FOREGROUND=1 wireguard-go busy 2>&1 & go=$!
while ! [ -S /run/wireguard/busy.sock ]; do sleep 0.01; done
grep -vE '^(Address|DNS)' "$1" | wg setconf busy /dev/stdin
ip link set busy up
sleep 1; kill $go; wait
"""
    said = lab.run("ams", ["bash", "-c", script, "busy", profile]).stdout
    assert "Receiving cookie response" in said, said
    assert "Could not decrypt invalid cookie response" not in said


@pytest.mark.parametrize("port", [51820, 1194, 500, 4500])
def test_garbage_is_answered_to_every_datagram(lab: Lab, port: int) -> None:
    """The host of garbage answers at every transport's port, on IPv4 and IPv6."""
    for address in ("192.0.2.102", "2001:db8:2::102"):
        script = f"import socket;s=socket.socket({10 if ':' in address else 2},2);s.settimeout(3);"
        script += f"s.connect(('{address}',{port}));s.send(b'x'*80);print(len(s.recv(999)))"
        done = lab.run("nyc", ["python3", "-c", script])
        assert done.stdout.strip() == "80", done.stderr
