"""One charon, its life and the talk with it over vici."""

import contextlib
import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vici.exception import CommandException
from vici.protocol import Message, Packet, Transport
from vici.session import Session

from sonde_agent.tunnel import namespaces
from sonde_agent.tunnel.backends.charon_conf import CHILD, CONNECTION, settings_text

_WHERE = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/libexec/ipsec"))
_CONTROL_LOG = "control-log"
_GONE = ("ike-updown", "child-updown")
_POLL_S = 0.001  # for its socket, which it makes within 20 ms
_EXIT_S = 0.2
_LOOK_S = 0.02  # at what else may end the waiting


def program() -> str | None:
    """Give the path of charon-systemd, which needs no systemd, or None: it is not installed."""
    return shutil.which("charon-systemd", path=_WHERE)


class Charon:
    """A running charon in the namespace `netns`, all whose files lie in `folder`.

    Args:
        folder: private.
        netns: open file of a network namespace.
        deadline: `time.monotonic()` by which it must answer.

    Raises:
        OSError: it can't be started, or ends at once, or is not ready by the deadline.
    """

    def __init__(self, folder: Path, netns: int, deadline: float) -> None:
        path = program()
        if path is None:
            raise FileNotFoundError("charon-systemd is not installed")
        conf = folder / "strongswan.conf"
        conf.write_text(settings_text(folder), encoding="utf-8")
        environment = {"PATH": _WHERE, "STRONGSWAN_CONF": str(conf)}
        with namespaces.inside(netns):
            self._process = subprocess.Popen(
                [path],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        try:
            self._socket = self._connect(folder / "charon.vici", deadline)
        except BaseException:
            self.kill()
            raise
        self._session = Session(self._socket)
        self._wire = Transport(self._socket)

    def request(self, command: str, message: Mapping[str, Any]) -> None:
        """Give charon one order.

        Raises:
            CommandException: it refuses.
        """
        self._session.request(command, message)

    def initiate(self, hear: Callable[[str, float], None], over: Callable[[], bool]) -> bool:
        """Connect; every line of its log goes to `hear`, with the moment it came [s, monotonic].

        Args:
            hear: takes a line and its moment.
            over: asked now and then; True = stop waiting.

        Returns:
            Whether the tunnel is up.
        """
        self._register(_CONTROL_LOG)
        message = Message.serialize({"ike": CONNECTION, "child": CHILD, "timeout": "0", "loglevel": "1"})
        self._wire.send(Packet.request("initiate", message))
        while not over():
            if not select.select([self._socket], [], [], _LOOK_S)[0]:
                continue
            packet = Packet.parse(self._wire.receive())
            at = time.monotonic()
            content = Message.deserialize(packet.payload)
            if packet.response_type != Packet.EVENT:
                return bool(content.get("success") == b"yes")
            hear(content.get("msg", b"").decode(errors="replace"), at)
        return False

    def watch(self) -> None:
        """From now on let `down` know when the connection ends."""
        for event in _GONE:
            self._register(event)

    def down(self) -> bool:
        """Whether the connection that was watched has ended, or charon with it. Does not wait for it."""
        try:
            while select.select([self._socket], [], [], 0)[0]:
                packet = Packet.parse(self._wire.receive())
                if packet.response_type == Packet.EVENT and packet.event_type.decode() in _GONE:
                    content = Message.deserialize(packet.payload)
                    if content.get("up") != b"yes":
                        return True
        except OSError:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_EXIT_S)  # it closed its socket, so it is on its way out
            return True
        return not self.alive()

    def alive(self) -> bool:
        """Whether the process still is there."""
        return self._process.poll() is None

    def terminate(self, seconds: float) -> None:
        """Tell the server that the connection ends, and wait so long for its answer."""
        self._socket.settimeout(seconds)
        order = {"ike": CONNECTION, "timeout": str(int(seconds * 1000))}
        with contextlib.suppress(OSError, CommandException):
            self._wire.send(Packet.request("terminate", Message.serialize(order)))
            while Packet.parse(self._wire.receive()).response_type == Packet.EVENT:
                pass

    def kill(self) -> None:
        """End it; what it made goes with its namespace."""
        self._process.kill()
        self._process.wait()

    def _register(self, event: str) -> None:
        self._wire.send(Packet.register_event(event))
        while Packet.parse(self._wire.receive()).response_type == Packet.EVENT:
            pass  # of another event, which came between

    def _connect(self, path: Path, deadline: float) -> socket.socket:
        while self._process.poll() is None and time.monotonic() < deadline:
            sock = socket.socket(socket.AF_UNIX)
            try:
                sock.connect(str(path))
            except (FileNotFoundError, ConnectionRefusedError):
                sock.close()
                time.sleep(_POLL_S)
            else:
                sock.settimeout(max(deadline - time.monotonic(), _POLL_S))
                return sock
        raise TimeoutError("charon does not start")
