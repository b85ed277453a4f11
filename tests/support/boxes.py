"""A host with a tunnel helper, an agent's user, and a WireGuard provider at the other end."""

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from google.protobuf import json_format
from support import residue
from support.programs import eventually
from support.wireguard import Provider, text

from sonde_agent.tunnel import frames, namespaces
from sonde_proto.profiles.x25519 import public_key
from sonde_proto.v1 import control_pb2, tunnel_pb2

PORT = 51820
USER = "nobody"
POLICY = "[policy]\n"
_TWENTY_SECONDS = struct.pack("ll", 20, 0)  # blocking, but not for ever


class Host:
    """The near end of a `Provider`: a helper as a service would run it, and requests to it.

    Args:
        provider: with its two namespaces up.
        policy: the TOML of [policy] and [limits].
    """

    def __init__(self, provider: Provider, policy: str = POLICY) -> None:
        self.provider = provider
        self.folder = Path(tempfile.mkdtemp(prefix="sonde-box-"))  # short: it holds a socket
        self.folder.chmod(0o755)
        self.socket = self.folder / "helper.sock"
        self.config = self.folder / "agent.toml"
        self.log = self.folder / "helper.log"
        self.profiles = self.folder / "profiles"
        self.profiles.mkdir()
        self._server_key = provider.serve(PORT)
        self.put("se.conf", provider.profile(PORT, self._server_key))
        self.put("deaf.conf", provider.profile(PORT + 1, self._server_key))
        credential = '[credential.lab]\nprofiles = "profiles"\n'
        self.config.write_text(f'vantage = "here"\ncollector = "127.0.0.1:7443"\n{policy}\n{credential}')
        self._helper: subprocess.Popen[bytes] | None = None

    def put(self, name: str, data: bytes) -> None:
        """A profile of the credential "lab"."""
        (self.profiles / name).write_bytes(data)

    def further_keys(self, count: int) -> list[str]:
        """Profiles of so many more customers of the same server, each with a key and address of its own."""
        names = []
        with namespaces.inside(self.provider.far):
            links = subprocess.check_output(["ip", "-o", "link", "show", "type", "tun"], text=True)
            device = links.split()[1].rstrip(":")
            for number in range(count):
                key, name, address = os.urandom(32), f"more-{number}.conf", f"10.66.0.{10 + number}/32"
                peer = ["peer", text(public_key(key)), "allowed-ips", address]
                subprocess.run(["wg", "set", device, *peer], check=True)
                said = self.provider.profile(PORT, self._server_key, PrivateKey=text(key), Address=address)
                self.put(name, said)
                names.append(name)
        return names

    def __enter__(self) -> Self:
        residue.adopt_orphans()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    @property
    def helper(self) -> int:
        """Its pid."""
        assert self._helper is not None
        return self._helper.pid

    def start(self) -> None:
        """Start the helper as its unit does, and wait until it listens."""
        self.socket.unlink(missing_ok=True)
        argv = ["tunnel-helper", "--config", str(self.config), "--socket", str(self.socket), "--user", USER]
        with namespaces.inside(self.provider.host), self.log.open("ab") as log:
            self._helper = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "support.as_installed",
                    sys.executable,
                    "-m",
                    "sonde_agent.cli",
                    *argv,
                ],
                env={**os.environ, "PYTHONPATH": "tests"},
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        eventually(self.socket.exists, 20, self.log.read_text)

    def stop(self) -> None:
        """SIGTERM, as a service manager ends it."""
        if self._helper is not None:
            self._helper.terminate()
            self._helper.wait(5)

    def restart_if_gone(self) -> None:
        """What a service manager does."""
        if self._helper is None or self._helper.poll() is not None:
            self.start()

    @contextlib.contextmanager
    def connect(self) -> Iterator[socket.socket]:
        """A connection to the helper."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TWENTY_SECONDS)
            connection.connect(str(self.socket))
            yield connection

    def ask(self, request: tunnel_pb2.OpenTunnel) -> list[tunnel_pb2.HelperEvent]:
        """All events of one tunnel."""
        with self.connect() as connection:
            connection.sendall(frames.encode(tunnel_pb2.HelperRequest(open=request)))
            return list(events(connection))

    def tunnel(self, who: str) -> int | None:
        """The pid of one of a tunnel's processes; None = it is not there yet, or no more."""
        tree = residue.descendants(self.helper)
        keepers = [pid for pid in tree if residue.parent_of(pid) == self.helper]
        found = {
            "keeper": keepers,
            "first process": [pid for pid in tree if residue.parent_of(pid) in keepers],
            "checks": [pid for pid, argv in tree.items() if argv[-1:] == ["box"]],
            "backend": [pid for pid, argv in tree.items() if argv[:1] == ["wireguard-go"]],
        }[who]
        return found[0] if found else None

    def describe(self, credential: str, profile: str) -> tunnel_pb2.HelperEvent:
        """What the helper says of a profile."""
        wanted = tunnel_pb2.DescribeProfile(credential=credential, profile=profile)
        with self.connect() as connection:
            connection.sendall(frames.encode(tunnel_pb2.HelperRequest(describe=wanted)))
            (event,) = events(connection)
        return event

    @contextlib.contextmanager
    def held(self, **fields: Any) -> Iterator["Held"]:
        """A tunnel that is up and pings for a minute, unless its connection or its box ends before."""
        with self.connect() as connection:
            request = wanted(inside=[ping(count=1000)], **fields)
            connection.sendall(frames.encode(tunnel_pb2.HelperRequest(open=request)))
            held = Held(connection, self)
            held.until("task")
            yield held


class Held:
    """A tunnel in use, and the processes that it consists of."""

    def __init__(self, connection: socket.socket, host: Host) -> None:
        self.connection = connection
        self._host = host
        self.told = events(connection)

    def until(self, kind: str) -> tunnel_pb2.HelperEvent:
        """The next event of a kind; those before it are let go."""
        for event in self.told:
            if event.WhichOneof("event") == kind:
                return event
        raise AssertionError(f"the connection ended before {kind}")

    @property
    def checks(self) -> int:
        """The pid of the process inside."""
        found = self._host.tunnel("checks")
        assert found is not None
        return found


def wanted(
    profile: str = "se.conf",
    *,
    credential: str = "lab",
    inside: list[control_pb2.Task] | None = None,
    **fields: Any,
) -> tunnel_pb2.OpenTunnel:
    """A request for a tunnel."""
    request = json_format.ParseDict(fields, tunnel_pb2.OpenTunnel())
    request.credential, request.profile = credential, profile
    request.inside.extend(inside or [])
    return request


def ping(host: str = "", *, count: int = 3, key: str = "inside") -> control_pb2.Task:
    """A ping inside, of the tunnel's gateway where no host is named; 20 a second."""
    spec = control_pb2.PingSpec(host=host, count=count, spacing_ms=50, wait_ms=1000, payload_bytes=16)
    return control_pb2.Task(key=key, target="lab/se", timeout_ms=60_000, ping=spec)


def events(connection: socket.socket) -> Iterator[tunnel_pb2.HelperEvent]:
    """What a helper tells, to the end of the connection."""
    while (frame := frames.receive(connection.fileno())) is not None:
        yield tunnel_pb2.HelperEvent.FromString(frame)
