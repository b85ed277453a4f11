"""A vantage of the lab as a host with an agent: a tunnel helper as a service, its accounts, and runs by it."""

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
        transport: protocol number, and the server's ports.
    """

    credential: str
    profile: str
    exit: str
    exit6: str
    entry: str
    entry6: str
    transport: tuple[int, frozenset[int]]

    @property
    def sixth(self) -> bool:
        """Whether the transport is IPv6."""
        return self.credential.endswith("6")


def _way(credential: str, profile: str, number: int, protocol: int, *ports: int) -> Way:
    return Way(
        credential,
        profile,
        f"203.0.113.{100 + number}",
        f"2001:db8:4::{100 + number}",
        f"192.0.2.{10 + number}",
        f"2001:db8:2::{10 + number}",
        (protocol, frozenset(ports)),
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
    """

    def __init__(self, lab: Lab, name: str = "ams", tunnels: int = 4) -> None:
        self.lab, self.name = lab, name
        self.folder = Path(tempfile.mkdtemp(prefix="sonde-at-"))  # short: it holds a socket
        self.folder.chmod(0o755)
        self.socket = self.folder / "helper.sock"
        self.log = self.folder / "helper.log"
        self._config = self.folder / "agent.toml"
        self._config.write_text(f'vantage = "{name}"\ncollector = "127.0.0.1:7443"\n{_settings(lab, tunnels)}')
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

    def agent(self, task: control_pb2.Task, **options: Any) -> subprocess.Popen[Any]:
        """An agent that runs a connection check once, in a process of its own; `rows` reads what it says."""
        return self.popen("support.connection_run", self.socket, json_format.MessageToJson(task), **options)

    def measure(self, task: control_pb2.Task) -> list[pb.Result]:
        """What a run of that task by an agent yields."""
        with self.agent(task, stdout=subprocess.PIPE) as agent:
            return rows(agent.communicate(timeout=60)[0])


def rows(said: bytes) -> list[pb.Result]:
    """The results of an agent's run."""
    return [json_format.ParseDict(row, pb.Result()) for row in json.loads(said)]


def connection(way: Way, *inside: control_pb2.Task, **fields: Any) -> control_pb2.Task:
    """A run through the provider: the tunnel, and in it checks one after another."""
    spec = control_pb2.ConnectionSpec(
        credential=way.credential, profile=way.profile, handshake_ms=10_000, inside=inside, **fields
    )
    return control_pb2.Task(key="run", target="lab/server", timeout_ms=100_000, connection=spec)


def opened(way: Way, *inside: control_pb2.Task, **fields: Any) -> tunnel_pb2.OpenTunnel:
    """The same, as the helper is asked for it."""
    return tunnel_pb2.OpenTunnel(credential=way.credential, profile=way.profile, inside=inside, **fields)


def _settings(lab: Lab, tunnels: int) -> str:
    accounts = {way.credential for way in WAYS.values()}
    lines = [f"[limits]\ntunnels = {tunnels}"]
    for name in sorted(accounts):
        lines.append(f'[credential.{name}]\nprofiles = "{lab.profiles / name}"')
        lines += [f'{part}_file = "{lab.folder}/secrets/lab.{part}"' for part in ("username", "password")]
    return "\n".join([*lines, ""])
