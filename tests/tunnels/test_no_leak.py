"""What of a run is seen on the vantage's own link: the tunnel's transport and the direct baseline alone."""

import os
import secrets
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import residue
from support.boxes import ping
from support.capture import Capture, Packet, parse
from support.endpoints import DNS, HTTP
from support.programs import eventually
from support.vantage import EXIT_URL, WAYS, Vantage, Way, connection

from sonde_lab import faults
from sonde_lab.lab import Lab
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("lab")]

OURS = ("198.51.100.11", "2001:db8:1::11")
ASKED_FOR_EXIT = ("203.0.113.1", 80)
FACES = {4: "203.0.113.2", 6: "2001:db8:3::2"}  # edge.example
ARP, ICMP, ICMP6 = 0x0806, 1, 58
UNREACHABLE = {(ICMP, 3): (0x0800, 28), (ICMP6, 1): (0x86DD, 48)}  # ethertype and start of what it quotes
ECHOES = frozenset({(ICMP, 8), (ICMP, 0), (ICMP6, 128), (ICMP6, 129)})
NEIGHBOURS = {*range(130, 138), 143}  # listeners, routers, neighbours: what a link with IPv6 says of itself
SYN = 0x02
BACKENDS = {
    "WireGuard": "wireguard-go",
    "OpenVPN-UDP": "openvpn",
    "OpenVPN-TCP": "openvpn",
    "IKEv2": "charon",
}


FAULTY = {address for host in faults.HOSTS.values() for address in (host.ipv4, host.ipv6)}


@pytest.fixture(scope="module")
def vantage(lab: Lab) -> Iterator[Vantage]:
    """Where it is watched."""
    with Vantage(lab) as made:
        yield made


def seen_as(packet: Packet, way: Way) -> str:
    """What a packet of the vantage is, or "" for one that must not be there."""
    came, kind = packet.destination in OURS, (packet.protocol, packet.kind)
    of_link = packet.ethertype == ARP or (packet.protocol == ICMP6 and packet.kind in NEIGHBOURS)
    if of_link or packet.device == "lo":
        return "the host's own"
    if packet.device != "wan" or not (came or packet.source in OURS):
        return ""
    if kind in UNREACHABLE:  # the host's word on what comes when the tunnel's socket is closed already
        ethertype, start = UNREACHABLE[kind]
        return seen_as(parse("wan", ethertype, packet.data[start:]), way)
    peer, port = (packet.source, packet.ports[0]) if came else (packet.destination, packet.ports[1])
    server = way.entry6 if way.sixth else way.entry
    late = [one for one in WAYS.values() if came and peer in (one.entry, one.entry6)]
    may_be = {
        "transport": peer == server and way.carries(packet.protocol, port),
        "baseline": peer == server and kind in ECHOES,
        "own address": (peer, port, packet.protocol) == (*ASKED_FOR_EXIT, socket.IPPROTO_TCP),
        "to an earlier run": any(one.carries(packet.protocol, port) for one in late)
        or (came and peer in FAULTY),
    }
    return next((name for name, is_so in may_be.items() if is_so), "")


def sorted_out(packets: list[Packet], way: Way) -> Counter[str]:
    """How many packets there were of each kind; fails with those that must not be there."""
    strange = [str(packet) for packet in packets if not seen_as(packet, way)]
    assert not strange, "\n".join([f"{len(strange)} packets leaked", *strange[:10]])
    return Counter(seen_as(packet, way) for packet in packets)


def endpoint(kind: pb.EndpointKind.ValueType, what: str, family: int, **fields: str) -> control_pb2.Task:
    """A check inside that needs a name."""
    spec = control_pb2.EndpointSpec(kind=kind, url=what, family=family, **fields)
    return control_pb2.Task(key=f"{what} {family}", target="lab/x", timeout_ms=8000, endpoint=spec)


def everything(name: str) -> list[control_pb2.Task]:
    """Checks that would be seen if they went past the tunnel: names, pages and echoes, IPv4 and IPv6."""
    inside = [ping("reference.example", count=5), ping(FACES[6], count=5, key="sixth")]
    for family in (4, 6):
        inside += [endpoint(HTTP, "http://edge.example/", family)]
        inside += [endpoint(DNS, name, 0, dns_type="A" if family == 4 else "AAAA")]
    return inside


def askers(lab: Lab, name: str) -> dict[str, str]:
    """Who asked the lab's resolver for a name: type of the question -> address."""
    found = {}
    for line in (lab.folder / "logs" / "dnsmasq.log").read_text().splitlines():
        words = line.split()
        if "query[" in line and words[-3] == name:
            found[words[-4]] = words[-1]
    return found


@pytest.mark.parametrize("protocol", WAYS)
def test_only_transport_and_baseline_leave_the_host(lab: Lab, vantage: Vantage, protocol: str) -> None:
    """Of names, pages and echoes inside the host's link carries the transport alone; DNS is asked inside."""
    way, name = WAYS[protocol], f"{secrets.token_hex(6)}.example"
    with Capture(lab.netns("ams")) as capture:
        row, *inside = vantage.measure(connection(way, *everything(name), exit_url=EXIT_URL[4]))
    assert row.performance.connection_success, row
    assert row.performance.exit_address == way.exit
    pages = [one.endpoint for one in inside if one.endpoint.kind == HTTP]
    assert [(page.address, page.failure) for page in pages] == [
        (to, pb.FAILURE_NONE) for to in FACES.values()
    ]
    counted = sorted_out(capture.packets, way)
    assert counted["transport"] > 50, counted
    assert counted["baseline"] >= 6, counted  # of ten, less what this server's path loses
    opened = [packet for packet in capture.packets if packet.ports[1] == 80 and packet.kind == SYN]
    assert len(opened) == 1, "the host asks for its own address once; all else is asked inside"
    assert askers(lab, name) == {"query[A]": way.exit, "query[AAAA]": way.exit}


def test_a_resolver_with_an_ipv6_address_is_asked_through_the_tunnel(lab: Lab, tmp_path: Path) -> None:
    """A provider's resolver on IPv6 is asked inside, and hears the provider's IPv6 exit."""
    way, name = WAYS["WireGuard"], f"{secrets.token_hex(6)}.example"
    profile = (lab.profiles / way.credential / way.profile).read_text()
    (tmp_path / way.profile).write_text(profile.replace("DNS = 10.61.0.1", "DNS = fd00:60:1::1"))
    with Vantage(lab, profiles=tmp_path) as vantage, Capture(lab.netns("ams")) as capture:
        vantage.measure(connection(way, *everything(name)))
    assert askers(lab, name) == {"query[A]": way.exit6, "query[AAAA]": way.exit6}
    sorted_out(capture.packets, way)


@pytest.mark.parametrize("protocol", BACKENDS)
def test_nothing_leaks_when_the_tunnel_dies(lab: Lab, vantage: Vantage, protocol: str) -> None:
    """When the tunnel's program is killed in the middle of a run, what runs inside falls silent at once."""
    way, name = WAYS[protocol], f"{secrets.token_hex(6)}.example"
    inside = [ping(FACES[4], count=20), *everything(name), ping(FACES[6], count=20)]
    with Capture(lab.netns("ams")) as capture, vantage.agents() as agents:
        agents.order(connection(way, *inside, exit_url=EXIT_URL[4]))
        eventually(lambda: any(p.ports[1] == 80 for p in capture.packets), 20, "the tunnel does not come up")
        program = [
            pid
            for pid, argv in residue.descendants(vantage.helper).items()
            if Path(argv[0]).name.startswith(BACKENDS[protocol])
        ]
        os.kill(program[0], signal.SIGKILL)
        killed = time.monotonic()
        row, *_ = agents.results()
        eventually(lambda: time.monotonic() > killed + 1.5, 3, "")
    assert row.performance.failure in (pb.FAILURE_INTERNAL, pb.FAILURE_LOCAL), row
    assert not askers(lab, name)
    counted = sorted_out(capture.packets, way)
    assert counted["transport"] > 5, counted
