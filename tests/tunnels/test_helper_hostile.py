"""The helper against an agent that was taken over: what it never does, whatever it is asked."""

import os
import pwd
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
from support import boxes, wireguard
from support.boxes import Host, ping, wanted
from support.programs import eventually
from support.residue import descendants
from support.wireguard import Provider

from sonde_agent.tunnel import frames
from sonde_proto.v1 import control_pb2, tunnel_pb2
from sonde_proto.v1 import results_pb2 as pb

_LACK = wireguard.missing()
pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("host"),
    pytest.mark.skipif(_LACK is not None, reason=f"tunnels: {_LACK}"),
]

RULES = """
[limits]
tunnels = 1
[tunnels]
backends = ["wireguard-go"]
[policy]
checks = ["connection", "ping"]
deny = ["203.0.113.0/24"]
deny_targets = ["secret.example"]
[[policy.block]]
target = "198.51.100.77"
reason = "asked us to stop"
until = 2100-01-01T00:00:00Z
[[policy.block]]
target = "192.0.2.1"
reason = "has ended"
until = 2020-01-01T00:00:00Z
[credential.other]
profiles = "others"
template = "others/template.conf"
password_file = "others/password"
"""


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """The other end."""
    with wireguard.provider(tmp_path_factory.mktemp("provider")) as made:
        yield made


@pytest.fixture(scope="module")
def host(provider: Provider) -> Iterator[Host]:
    """A host with room for one tunnel, two accounts, and a folder in which an attacker has been busy."""
    with Host(provider, RULES) as made:
        others = made.folder / "others"
        others.mkdir()
        good = (made.profiles / "se.conf").read_bytes()
        (others / "mine.conf").write_bytes(good)
        (others / "template.conf").write_bytes(good)
        (others / "password").write_text("hush\n")
        (made.profiles / "link.conf").symlink_to(others / "mine.conf")
        os.mkfifo(made.profiles / "pipe.conf")
        (made.profiles / "folder.conf").mkdir()
        made.put("hook.conf", good.replace(b"[Peer]", b"PostUp = touch /tmp/sonde-was-here\n[Peer]"))
        made.put("huge.conf", good + b"#" * 2**21)
        made.put("inner.conf", good.replace(b"Endpoint = 198.51.100.1", b"Endpoint = 127.0.0.1"))
        made.put("denied.conf", good.replace(b"Endpoint = 198.51.100.1", b"Endpoint = 203.0.113.1"))
        made.put("blocked.conf", good.replace(b"Endpoint = 198.51.100.1", b"Endpoint = 198.51.100.77"))
        made.put("named.conf", good.replace(b"Endpoint = 198.51.100.1", b"Endpoint = secret.example"))
        made.put("fooled.conf", good.replace(b"Endpoint = 198.51.100.1", b"Endpoint = localhost"))
        yield made


def http(url: str) -> control_pb2.Task:
    """A check that the policy does not hold."""
    spec = control_pb2.EndpointSpec(kind=pb.ENDPOINT_KIND_HTTP, url=url)
    return control_pb2.Task(key="x", timeout_ms=1000, endpoint=spec)


def flood(host: str = "192.0.2.1") -> control_pb2.Task:
    """More echoes than any plan may have; its target's block has ended."""
    task = ping(host)
    task.ping.count = 2**32 - 1
    return task


def odd() -> control_pb2.Task:
    """A key that would be two lines of a log."""
    task = ping()
    task.key = "x\nPostUp = id"
    return task


def inner() -> control_pb2.Task:
    """A tunnel in a tunnel."""
    return control_pb2.Task(
        key="x", timeout_ms=1000, connection=control_pb2.ConnectionSpec(profile="se.conf")
    )


HOSTILE: list[tuple[str, dict[str, Any], pb.Failure.ValueType, str]] = [
    ("no account of that name", {"credential": "nobody"}, pb.FAILURE_PROFILE, "no [credential."),
    ("a folder above", {"profile": "../others/mine.conf"}, pb.FAILURE_PROFILE, "name alone"),
    ("an absolute path", {"profile": "/etc/shadow"}, pb.FAILURE_PROFILE, "name alone"),
    ("the folder itself", {"profile": ".."}, pb.FAILURE_PROFILE, "name alone"),
    ("no name", {"profile": ""}, pb.FAILURE_PROFILE, "template"),
    ("a link to another account's", {"profile": "link.conf"}, pb.FAILURE_PROFILE, "is a link"),
    ("a pipe", {"profile": "pipe.conf"}, pb.FAILURE_PROFILE, "no plain file"),
    ("a folder", {"profile": "folder.conf"}, pb.FAILURE_PROFILE, "no plain file"),
    ("what is not there", {"profile": "none.conf"}, pb.FAILURE_PROFILE, "No such file"),
    (
        "the account's password",
        {"credential": "other", "profile": "password"},
        pb.FAILURE_PROFILE,
        "must end",
    ),
    ("a hook", {"profile": "hook.conf"}, pb.FAILURE_PROFILE, "PostUp"),
    ("a huge file", {"profile": "huge.conf"}, pb.FAILURE_PROFILE, "more than"),
    ("this host as server", {"profile": "inner.conf"}, pb.FAILURE_POLICY, "127.0.0.0/8"),
    ("a denied network as server", {"profile": "denied.conf"}, pb.FAILURE_POLICY, "203.0.113.0/24"),
    ("a denied name as server", {"profile": "named.conf"}, pb.FAILURE_POLICY, "secret.example"),
    ("a name that leads here", {"profile": "fooled.conf"}, pb.FAILURE_POLICY, "127.0.0.0/8"),
    (
        "a template that is not this account's",
        {"place": {"host": "192.0.2.1"}},
        pb.FAILURE_PROFILE,
        "no template",
    ),
    (
        "a denied place",
        {"credential": "other", "profile": "", "place": {"host": "10.0.0.1"}},
        pb.FAILURE_POLICY,
        "10.0.0.0/8",
    ),
    (
        "a place that is a line of a configuration",
        {"credential": "other", "profile": "", "place": {"host": "192.0.2.1\nPostUp = id"}},
        pb.FAILURE_PROFILE,
        "the place",
    ),
    ("a program as backend", {"backend": "/bin/sh"}, pb.FAILURE_POLICY, "tunnels.backends"),
    ("a backend that is not allowed", {"backend": "wireguard-kernel"}, pb.FAILURE_POLICY, "tunnels.backends"),
    ("a check that is not allowed", {"inside": [http("http://192.0.2.1/")]}, pb.FAILURE_POLICY, "endpoint"),
    ("a tunnel in a tunnel", {"inside": [inner()]}, pb.FAILURE_POLICY, "no tunnel opens in a tunnel"),
    ("no check at all", {"inside": [control_pb2.Task(timeout_ms=1)]}, pb.FAILURE_POLICY, "too old"),
    ("a denied target inside", {"inside": [ping("10.1.2.3")]}, pb.FAILURE_POLICY, "10.0.0.0/8"),
    ("a denied target, spelled oddly", {"inside": [ping("0x7f.1")]}, pb.FAILURE_POLICY, "127.0.0.0/8"),
    (
        "a blocked target inside",
        {"inside": [ping("198.51.100.77")]},
        pb.FAILURE_POLICY,
        'policy.block holds "198.51.100.77" until 2100-01-01T00:00:00Z: asked us to stop',
    ),
    (
        "a blocked exit",
        {"exit_url": "http://3325256781/"},
        pb.FAILURE_POLICY,
        "asked us to stop",
    ),
    ("a blocked server", {"profile": "blocked.conf"}, pb.FAILURE_POLICY, "asked us to stop"),
    ("a flood inside", {"inside": [flood()]}, pb.FAILURE_POLICY, "ping.count is beyond 1000"),
    ("a flood of the gateway", {"inside": [flood("")]}, pb.FAILURE_POLICY, "ping.count is beyond 1000"),
    ("a check in two lines", {"inside": [odd()]}, pb.FAILURE_POLICY, "a name is no line"),
    ("too many checks", {"inside": [ping()] * 65}, pb.FAILURE_POLICY, "more than 64"),
    ("an endless check", {"inside": [control_pb2.Task(ping=ping().ping)]}, pb.FAILURE_POLICY, "timeout_ms"),
    ("a denied exit", {"exit_url": "http://169.254.169.254/"}, pb.FAILURE_POLICY, "169.254.0.0/16"),
    ("an exit that is a file", {"exit_url": "file:///etc/shadow"}, pb.FAILURE_POLICY, "no http://"),
    ("an endless handshake", {"handshake_ms": 10**9}, pb.FAILURE_POLICY, "handshake_ms"),
    ("no family", {"family": 5}, pb.FAILURE_POLICY, "family"),
]


@pytest.mark.parametrize(
    ("fields", "failure", "words"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE]
)
def test_what_is_not_allowed_is_refused_by_one_line(
    host: Host, fields: dict[str, Any], failure: pb.Failure.ValueType, words: str
) -> None:
    """A request beyond the helper's own rules opens nothing, and is answered by one line that says why."""
    (event,) = host.ask(wanted(**fields))
    assert event.ended.failure == failure, event
    assert words in event.ended.detail
    assert "\n" not in event.ended.detail
    assert "hush" not in event.ended.detail


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\x05hello",
        b"\0\0\0\0",
        frames.encode(tunnel_pb2.HelperRequest(open=wanted())) * 2,
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(100_000),
    ],
    ids=["endless", "garbage", "empty", "two at once", "another protocol", "noise"],
)
def test_what_is_no_request_is_answered_by_the_end(host: Host, data: bytes) -> None:
    """Bytes that are no request end their connection, open nothing, and hurt nobody else."""
    with host.connect() as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            told = list(boxes.events(connection))
        except OSError:
            told = []
    assert [event.ended.failure for event in told] in ([], [pb.FAILURE_UNSUPPORTED])
    assert host.describe("lab", "se.conf").described.port == boxes.PORT


def test_who_says_nothing_is_not_waited_for(host: Host) -> None:
    """A connection without a request ends after five seconds, and others are served meanwhile."""
    with host.connect() as silent:
        began = time.monotonic()
        assert host.describe("lab", "se.conf").described.port == boxes.PORT
        assert time.monotonic() - began < 3
        assert silent.recv(1) == b""
        assert 4 < time.monotonic() - began < 8


def test_connections_without_end_are_bounded(host: Host) -> None:
    """A thousand connections make no thousand processes, and the helper serves again when they are gone."""
    held = []
    try:
        for _ in range(1000):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            held.append(connection)
            connection.connect(str(host.socket))
        assert len(descendants(host.helper)) <= 17
    finally:
        for connection in held:
            connection.close()
    eventually(lambda: not descendants(host.helper), 10, lambda: str(descendants(host.helper)))
    assert host.describe("lab", "se.conf").described.port == boxes.PORT


def test_tunnels_are_bounded_and_a_killed_one_frees_its_place(host: Host) -> None:
    """With one place for a tunnel the second is refused as our side's fault, until the first has gone."""
    with host.held() as held:
        (event,) = host.ask(wanted())
        assert event.ended.failure == pb.FAILURE_LOCAL
        assert "limits.tunnels" in event.ended.detail
        assert host.describe("lab", "se.conf").described.port == boxes.PORT
        keeper = host.tunnel("keeper")
        assert keeper is not None
        os.kill(keeper, 9)
        assert list(held.told) == []
    assert [event.WhichOneof("event") for event in host.ask(wanted())][-1] == "ended"
    assert host.ask(wanted(inside=[ping()]))[-1].ended.failure == pb.FAILURE_NONE


def test_another_user_is_not_served(host: Host) -> None:
    """Neither the socket's mode nor the helper itself lets a user in who is not the agent's."""
    outcomes = []
    for mode in (0o660, 0o666):  # the second: as an administrator might have left it
        host.socket.chmod(mode)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            said = b"served"
            try:
                os.setgroups([])
                os.setresgid(12345, 12345, 12345)
                os.setresuid(12345, 12345, 12345)
                with host.connect() as connection:
                    request = tunnel_pb2.HelperRequest(
                        describe=tunnel_pb2.DescribeProfile(credential="lab", profile="se.conf")
                    )
                    connection.sendall(frames.encode(request))
                    said = b"served" if list(boxes.events(connection)) else b"ended"
            except OSError:
                said = b"refused"
            finally:
                os.write(write, said)
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        outcomes.append(os.read(read, 20))
        os.close(read)
    host.socket.chmod(0o660)
    assert outcomes[0] == b"refused"
    assert outcomes[1] in (b"refused", b"ended")


def test_no_file_of_a_request_was_ever_executed(host: Host) -> None:
    """After all that, the hook of a profile has not run, and no tunnel is open."""
    assert not os.path.lexists("/tmp/sonde-was-here")
    assert not descendants(host.helper)
    assert host.socket.stat().st_gid == pwd.getpwnam(boxes.USER).pw_gid
