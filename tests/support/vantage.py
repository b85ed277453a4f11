"""A vantage of the lab as a host with an agent: a helper as a service, its accounts, and runs by it."""

import contextlib
import json
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

from attrs import frozen
from google.protobuf import json_format
from support import residue
from support.boxes import USER, events
from support.programs import eventually

from sonde_agent.tunnel import frames
from sonde_lab.lab import Lab
from sonde_proto.v1 import control_pb2, tunnel_pb2
from sonde_proto.v1 import results_pb2 as pb

EXIT_URL = {4: "http://203.0.113.1/ip", 6: "http://[2001:db8:3::1]/ip"}
_THIRTY_SECONDS = struct.pack("ll", 30, 0)  # blocking, but not for ever


@frozen
class Way:
    """One way through the lab's provider.

    Attributes:
        credential: also the folder of its profiles.
        exit: whom the world sees, IPv4.
        exit6: the same, IPv6.
        entry: where the server is, IPv4.
        entry6: the same, IPv6.
        protocol: of the transport, its number.
        ports: the server's.
    """

    credential: str
    profile: str
    exit: str
    exit6: str
    entry: str
    entry6: str
    protocol: int
    ports: frozenset[int]

    @property
    def sixth(self) -> bool:
        """Whether the transport is IPv6."""
        return self.credential.endswith("6")

    def carries(self, protocol: int, port: int) -> bool:
        """Whether a packet of that protocol, at that port of the server, is the tunnel's transport."""
        return protocol == self.protocol and port in self.ports


def _way(credential: str, profile: str, number: int, protocol: int, *ports: int) -> Way:
    return Way(
        credential,
        profile,
        f"203.0.113.{100 + number}",
        f"2001:db8:4::{100 + number}",
        f"192.0.2.{10 + number}",
        f"2001:db8:2::{10 + number}",
        protocol,
        frozenset(ports),
    )


_TCP, _UDP = socket.IPPROTO_TCP, socket.IPPROTO_UDP
WAYS = {
    "WireGuard": _way("lab-wg", "se-sto-wg-001.conf", 1, _UDP, 51820),
    "OpenVPN-UDP": _way("lab-ovpn", "de-fra-udp-001.ovpn", 3, _UDP, 1194),
    "OpenVPN-TCP": _way("lab-ovpn", "de-ber-tcp-001.ovpn", 4, _TCP, 443),
    "IKEv2": _way("lab-ike", "us-chi-ike-001.sswan", 5, _UDP, 500, 4500),
    "WireGuard over IPv6": _way("lab-wg6", "se-sto-wg-001.conf", 1, _UDP, 51820),
    "OpenVPN-UDP over IPv6": _way("lab-ovpn6", "de-fra-udp-001.ovpn", 3, _UDP, 1194),
    "OpenVPN-TCP over IPv6": _way("lab-ovpn6", "de-ber-tcp-001.ovpn", 4, _TCP, 443),
    "IKEv2 over IPv6": _way("lab-ike6", "us-chi-ike-001.sswan", 5, _UDP, 500, 4500),
}


class Vantage:
    """A helper at one of the lab's vantages, and agents that use it.

    Args:
        lab: up.
        name: the vantage's code.
        tunnels: how many may be open at once.
        profiles: the folder of every account's profiles, in place of the lab's own.
    """

    def __init__(
        self, lab: Lab, name: str = "ams", *, tunnels: int = 4, profiles: Path | None = None
    ) -> None:
        self.lab, self.name = lab, name
        self.folder = Path(tempfile.mkdtemp(prefix="sonde-at-"))  # short: it holds a socket
        self.folder.chmod(0o755)
        self.socket = self.folder / "helper.sock"
        self.log = self.folder / "helper.log"
        self._config = self.folder / "agent.toml"
        head = f'vantage = "{name}"\ncollector = "127.0.0.1:7443"\n[limits]\ntunnels = {tunnels}\n'
        self._config.write_text(head + _accounts(lab, profiles))
        self._helper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        residue.adopt_orphans()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._helper is not None:
            self._helper.terminate()
            self._helper.wait(5)
        shutil.rmtree(self.folder)

    @property
    def helper(self) -> int:
        """Its pid, as this host counts; 0 = it is gone."""
        assert self._helper is not None
        return next((pid for pid, parent in residue.processes() if parent == self._helper.pid), 0)

    def start(self) -> None:
        """Start the helper as its unit does, and wait until it listens."""
        self.socket.unlink(missing_ok=True)
        argv = ["tunnel-helper", "--config", self._config, "--socket", self.socket, "--user", USER]
        with self.log.open("ab") as log:
            self._helper = self.popen(
                "support.as_installed",
                sys.executable,
                "-m",
                "sonde_agent.cli",
                *argv,
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        eventually(self.socket.exists, 20, self.log.read_text)

    def restart_if_gone(self) -> None:
        """What a service manager does."""
        if self._helper is None or self._helper.poll() is not None:
            self.start()

    def popen(self, module: str, *arguments: object, **options: Any) -> subprocess.Popen[Any]:
        """Start a Python module at the vantage; the process given dies with it, and the other way round."""
        argv = [sys.executable, "-m", module, *map(str, arguments)]
        return self.lab.popen(self.name, argv, env={**os.environ, "PYTHONPATH": "tests"}, **options)

    def ask(self, request: tunnel_pb2.OpenTunnel) -> list[tunnel_pb2.HelperEvent]:
        """All events of one tunnel."""
        with self.connect(request) as connection:
            return list(events(connection))

    @contextlib.contextmanager
    def connect(self, request: tunnel_pb2.OpenTunnel) -> Iterator[socket.socket]:
        """A tunnel that is asked for, and ends with this context."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _THIRTY_SECONDS)
            connection.connect(str(self.socket))
            connection.sendall(frames.encode(tunnel_pb2.HelperRequest(open=request)))
            yield connection

    @contextlib.contextmanager
    def agents(self) -> Iterator["Agents"]:
        """Somewhere to start agents quickly."""
        with self.popen(
            "support.connection_run", self.socket, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            yield Agents(process)

    def measure(self, task: control_pb2.Task) -> list[pb.Result]:
        """What a run of that task by an agent yields."""
        with self.agents() as agents:
            agents.order(task)
            return agents.results()


class Agents:
    """A process that starts an agent for each task: what they import, it has imported.

    Args:
        process: `support.connection_run` at a vantage.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def order(self, task: control_pb2.Task) -> None:
        """Start an agent that runs the task once."""
        assert self._process.stdin is not None
        self._process.stdin.write(json_format.MessageToJson(task, indent=None) + "\n")
        self._process.stdin.flush()

    def results(self) -> list[pb.Result]:
        """What the next agent that is done has measured."""
        assert self._process.stdout is not None
        return [
            json_format.ParseDict(row, pb.Result()) for row in json.loads(self._process.stdout.readline())
        ]

    @property
    def running(self) -> list[int]:
        """The pids of agents at work, as this host counts."""
        tree = residue.descendants(self._process.pid)
        parents = {pid: parent for pid, parent in residue.processes() if pid in tree}
        return [pid for pid, parent in parents.items() if parent != self._process.pid]


def connection(way: Way, *inside: control_pb2.Task, **fields: Any) -> control_pb2.Task:
    """A run through the provider: the tunnel, and in it checks one after another."""
    spec = control_pb2.ConnectionSpec(
        credential=way.credential, profile=way.profile, handshake_ms=10_000, inside=inside, **fields
    )
    return control_pb2.Task(key="run", target="lab/server", timeout_ms=100_000, connection=spec)


def opened(way: Way, *inside: control_pb2.Task, **fields: Any) -> tunnel_pb2.OpenTunnel:
    """The same, as the helper is asked for it."""
    return tunnel_pb2.OpenTunnel(credential=way.credential, profile=way.profile, inside=inside, **fields)


def _accounts(lab: Lab, profiles: Path | None) -> str:
    lines = []
    for name in sorted({way.credential for way in WAYS.values()}):
        lines.append(f'[credential.{name}]\nprofiles = "{profiles or lab.profiles / name}"')
        lines += [f'{part}_file = "{lab.folder}/secrets/lab.{part}"' for part in ("username", "password")]
    return "\n".join([*lines, ""])
