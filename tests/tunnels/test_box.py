"""A box: what is told of it, who runs in it, and what it can see and reach."""

import http.server
import os
import pwd
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import boxes, wireguard
from support.boxes import Held, Host, ping, wanted
from support.wireguard import OURS, SERVER, THEIRS, Provider

from sonde_agent.tunnel import namespaces
from sonde_proto.v1 import results_pb2 as pb
from sonde_proto.v1 import tunnel_pb2

_LACK = wireguard.missing()
pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("host"),
    pytest.mark.skipif(_LACK is not None, reason=f"tunnels: {_LACK}"),
]

MANY = ", ".join(f"'100.{number}.0.0/24'" for number in range(200))
DENIED = f"""[policy]
allow = ['10.99.1.0/24']
deny = ['203.0.113.0/24', {MANY}]
deny_targets = ['10.99.1.7']
"""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """The other end."""
    with wireguard.provider(tmp_path_factory.mktemp("provider")) as made:
        yield made


@pytest.fixture(scope="module")
def host(provider: Provider) -> Iterator[Host]:
    """A host with a policy of its own, longer than what the kernel takes in at once."""
    with Host(provider, DENIED) as made:
        yield made


@pytest.fixture(scope="module")
def held(host: Host) -> Iterator[Held]:
    """A tunnel in use."""
    with host.held() as tunnel:
        yield tunnel


@pytest.fixture(scope="module")
def exit_url(provider: Provider) -> Iterator[str]:
    """A server behind the provider that tells who calls."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/ip" else 403)
            self.end_headers()
            self.wfile.write(self.client_address[0].encode() + b"\n")

        def log_message(self, *_: object) -> None:
            pass

    with namespaces.inside(provider.far):
        server = http.server.ThreadingHTTPServer((SERVER, 80), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://{SERVER}/ip"
    server.shutdown()
    thread.join()
    server.server_close()


def kinds(events: list[tunnel_pb2.HelperEvent]) -> list[str]:
    """What was told, in order."""
    return [event.WhichOneof("event") or "" for event in events]


def status_of(pid: int) -> dict[str, str]:
    """A process as the kernel sees it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def test_a_run_tells_stages_the_tunnel_results_and_its_end(host: Host) -> None:
    """A run is told in order: the handshake, the tunnel, each task and its result, and the end."""
    events = host.ask(wanted(inside=[ping(), ping(SERVER, key="again")]))
    assert kinds(events) == ["stage", "up", "task", "result", "task", "result", "ended"], events
    up = events[1].up
    assert (up.backend, up.server_address, up.server_port) == ("wireguard-go", SERVER, boxes.PORT)
    assert (up.family, up.gateway, list(up.dns), up.mtu) == (4, THEIRS, [THEIRS], 1420)
    assert 0 < up.connection_ms < up.setup_ms
    assert up.connection_ms == pytest.approx(events[0].stage.ms)
    for event in (events[3], events[5]):
        assert event.result.performance.received == 3
    assert events[-1].ended.failure == pb.FAILURE_NONE
    assert 0 < events[-1].ended.teardown_ms < 2000


def test_the_exit_is_seen_from_inside(host: Host, exit_url: str) -> None:
    """The exit's address is what a server sees through the tunnel, with the time to its first byte."""
    events = host.ask(wanted(exit_url=exit_url))
    assert kinds(events) == ["stage", "up", "ended"], events
    assert events[1].up.exit_address == OURS
    assert 0 < events[1].up.first_byte_ms < 1000


def test_an_exit_url_that_refuses_the_exit_is_no_fault_of_the_tunnel(host: Host, exit_url: str) -> None:
    """An answer that names no address came through the tunnel: it is up, its exit unknown, and it is used."""
    events = host.ask(wanted(exit_url=exit_url.replace("/ip", "/closed"), inside=[ping()]))
    assert kinds(events) == ["stage", "up", "task", "result", "ended"], events
    assert (events[1].up.exit_address, events[-1].ended.failure) == ("", pb.FAILURE_NONE)


def test_a_tunnel_that_passes_nothing_is_no_success(host: Host) -> None:
    """A handshake after which nothing comes back ends as a timeout of the first byte, without `up`."""
    events = host.ask(wanted(exit_url="http://198.51.100.77/ip", inside=[ping()]))
    assert kinds(events) == ["stage", "ended"], events
    ended = events[1].ended
    assert (ended.failure, ended.stage) == (pb.FAILURE_TIMEOUT, pb.STAGE_FIRST_BYTE)
    assert "198.51.100.77" in ended.detail


def test_silence_is_a_timeout_of_the_handshake(host: Host) -> None:
    """A server that never answers is told with the stage of the backend, and nothing runs inside."""
    events = host.ask(wanted("deaf.conf", handshake_ms=1500, inside=[ping()]))
    assert kinds(events) == ["ended"], events
    assert events[0].ended.failure in (pb.FAILURE_TIMEOUT, pb.FAILURE_REFUSED)
    assert events[0].ended.stage in (pb.STAGE_HANDSHAKE, pb.STAGE_TRANSPORT)


def test_describe_names_the_server_and_the_key(host: Host) -> None:
    """A profile is described by protocol, host, port and a name of its key, and no tunnel opens."""
    described = host.describe("lab", "se.conf").described
    assert (described.protocol, described.host, described.port) == ("WireGuard", SERVER, boxes.PORT)
    assert len(described.key_id) == 16


def test_the_checks_run_without_any_privilege(held: Held) -> None:
    """The process of the checks is the agent's user, without a capability and without a way to one."""
    status = status_of(held.checks)
    user = pwd.getpwnam(boxes.USER)
    assert status["Uid"].split() == [str(user.pw_uid)] * 4
    assert status["Gid"].split() == [str(user.pw_gid)] * 4
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"] == "1"
    links = [str(fd.readlink()) for fd in Path(f"/proc/{held.checks}/fd").iterdir()]
    assert not [link for link in links if "net:[" in link or link.startswith("/dev/net")]


def test_the_checks_see_the_tunnel_alone(held: Held) -> None:
    """Inside are loopback and the tunnel's device, the tunnel's resolver, and no file of the backend's."""
    pid = held.checks
    devices = Path(f"/proc/{pid}/net/dev").read_text().splitlines()[2:]
    names = sorted(line.split(":")[0].strip() for line in devices)
    assert len(names) == 2
    assert names[0] == "lo"
    assert names[1].startswith("sonde-")
    root = Path(f"/proc/{pid}/root")
    assert f"nameserver {THEIRS}\n" in (root / "etc/resolv.conf").read_text()
    assert "hosts: files dns" in (root / "etc/nsswitch.conf").read_text()
    assert "nameserver " + THEIRS not in Path("/etc/resolv.conf").read_text()
    assert sorted(path.name for path in (root / "run").iterdir()) == ["sonde", "wireguard"]
    assert list((root / "run/sonde").iterdir()) == []
    mounts = Path(f"/proc/{pid}/mounts").read_text().splitlines()
    writable = {line.split()[1] for line in mounts if "rw" in line.split()[3].split(",")}
    assert writable == {"/run/sonde"}


def reached(held: Held, address: str, *, device: str = "") -> bool:
    """Whether the agent's user, with any code it likes, can send to an address from inside the box."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with Path(f"/proc/{held.checks}/ns/net").open() as netns:
                namespaces.enter(netns.fileno())
            user = pwd.getpwnam(boxes.USER)
            namespaces.become(user.pw_uid, user.pw_gid, [])
            with socket.socket(
                socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM
            ) as sock:
                if device:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
                sock.sendto(b"x", (address, 9))
            os.write(write, b"reached")
        except OSError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    said = os.read(read, 200)
    os.close(read)
    return said == b"reached"


@pytest.mark.parametrize(
    ("address", "may"),
    [
        ("192.0.2.9", True),  # somewhere behind the provider
        ("2001:db8:9::9", True),
        (THEIRS, True),  # the tunnel's own gateway and resolver, private as it is
        ("10.66.0.3", False),  # the built-in list
        ("169.254.169.254", False),
        ("203.0.113.5", False),  # policy.deny
        ("10.99.1.8", True),  # policy.allow
        ("10.99.1.7", False),  # policy.deny_targets outranks it
        ("fc00::9", False),
        ("64:ff9b::a00:1", False),  # 10.0.0.1 behind NAT64
    ],
)
def test_the_kernel_keeps_the_policy_inside(held: Held, address: str, *, may: bool) -> None:
    """Whatever code runs inside, it reaches no denied network: the kernel refuses, not our check alone."""
    device = next(name for name in devices(held) if name != "lo")
    assert reached(held, address) is may
    assert reached(held, address, device=device) is may


def devices(held: Held) -> list[str]:
    """Names of the devices inside."""
    lines = Path(f"/proc/{held.checks}/net/dev").read_text().splitlines()[2:]
    return [line.split(":")[0].strip() for line in lines]
