"""One OpenVPN process from its start to its end, and the talk with it.

It runs no program. Its configuration is read from standard input and the account's secrets are asked for on
the management socket: neither ever stands in a file or on the command line. When whoever holds that socket is
gone, by whatever hand, the process ends by itself.
"""

import contextlib
import os
import select
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from sonde_agent.net.peer import Peer
from sonde_agent.tunnel.backends.base import Secrets, TunnelFailed
from sonde_agent.tunnel.backends.openvpn_config import config_text
from sonde_agent.tunnel.backends.openvpn_dialogue import Dialogue
from sonde_agent.tunnel.backends.openvpn_management import logged, shown
from sonde_proto.profiles import OpenVpn
from sonde_proto.v1 import results_pb2 as pb

_GOODBYE = b"exit notification"  # in what it says when it sends one; over TCP it needs none and just ends
_LEAVE_WITHIN_S = 0.5  # for OpenVPN to say that it sends its goodbye, which takes it 1 ms
_ON_THE_WIRE_S = 0.05  # from its saying so to the packet's having left


class OpenVpnProcess:
    """A running process: its management socket, its standard output, and what was said on both.

    Attributes:
        dialogue: what was said.
        management: the socket; shutting it down ends the process.
    """

    def __init__(
        self,
        settings: OpenVpn,
        peer: Peer,
        *,
        device: str,
        secrets: Secrets,
        folder: Path,
        deadline: float,
        stage: Callable[[pb.Stage.ValueType, float], None],
    ) -> None:
        """Start it and wait until it has connected to our management socket; it does not connect yet.

        Args:
            settings: what the provider's file says.
            peer: where to.
            device: name of the tun to make, or "null": the handshake alone, which needs no privilege.
            secrets: for `auth-user-pass`.
            folder: for the socket, which is gone when this returns.
            deadline: `time.monotonic()` by which it must be up.
            stage: told as each stage ends, with how long it took [ms].

        Raises:
            TunnelFailed: it does not start, or the profile asks for secrets that there are not.
        """
        if settings.wants_user_pass and not (secrets.username and secrets.password):
            detail = "the profile asks for a user name and a password, and the credential has none"
            raise TunnelFailed(pb.FAILURE_PROFILE, pb.STAGE_AUTH, detail)
        path = folder / "openvpn.sock"
        left = deadline - time.monotonic()
        text = config_text(settings, peer, device=device, management=path, seconds=left)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(1)
            listener.settimeout(max(left, 0.001))
            self._process, self._output = _start(text, folder)
            try:
                self.management = self._accept(listener, left)
            except TunnelFailed:
                self._process.kill()
                self._process.wait()
                os.close(self._output)
                raise
        path.unlink()
        self.dialogue = Dialogue(secrets, stage)
        self._rests = {self.management.fileno(): b"", self._output: b""}

    def _accept(self, listener: socket.socket, seconds: float) -> socket.socket:
        _wait_for_either(listener, self._process, seconds)
        if self._process.poll() is not None:
            output = os.read(self._output, 65536)
            raise TunnelFailed(pb.FAILURE_PROFILE, pb.STAGE_NONE, _why_not_started(output))
        try:
            return listener.accept()[0]
        except TimeoutError:
            raise TunnelFailed(pb.FAILURE_LOCAL, pb.STAGE_NONE, "OpenVPN does not start in time") from None

    def until_connected(self, deadline: float) -> None:
        """Listen until it is up.

        Raises:
            TunnelFailed: it is not, or not by `deadline`.
        """
        while not self.dialogue.connected:
            left = deadline - time.monotonic()
            if left <= 0:
                raise self.dialogue.silence()
            alive = self._listen(left)
            if self.dialogue.failed is not None:
                raise self.dialogue.failed
            if not alive:
                raise self.dialogue.gone()

    def lost(self) -> TunnelFailed | None:
        """Take what was said meanwhile; give why the tunnel is down, or None."""
        alive = self._listen(0)
        return self.dialogue.failed if alive else self.dialogue.gone()

    def end(self) -> None:
        """Have OpenVPN tell its server that it goes, see that done or the time over, and end it."""
        self._say_goodbye()
        self._process.kill()
        self._process.wait()
        os.close(self._output)

    def _say_goodbye(self) -> None:
        until = time.monotonic() + _LEAVE_WITHIN_S
        said = b""
        with contextlib.suppress(OSError):
            self.management.sendall(b"signal SIGTERM\n")
            while _GOODBYE not in said and (left := until - time.monotonic()) > 0:
                if select.select([self._output], [], [], left)[0]:
                    piece = os.read(self._output, 65536)
                    said += piece
                    if not piece:
                        break
            if _GOODBYE in said:
                time.sleep(_ON_THE_WIRE_S)
        self.management.close()

    def _listen(self, seconds: float) -> bool:
        """Take what comes within `seconds`, and answer it; False = the process is gone."""
        readable, _, _ = select.select(list(self._rests), [], [], seconds)
        open_still = True
        for fd in readable:
            try:
                data = os.read(fd, 65536)
            except ConnectionError:
                data = b""
            open_still = open_still and (bool(data) or fd != self._output)
            if not data and fd != self._output:
                del self._rests[fd]  # its output says why, and ends a moment later
                continue
            *lines, self._rests[fd] = (self._rests[fd] + data).split(b"\n")
            for line in lines:
                self._take(fd, line.decode(errors="replace").rstrip("\r"))
        return open_still

    def _take(self, fd: int, line: str) -> None:
        if fd == self._output:
            self.dialogue.heard(line)
            return
        for answer in self.dialogue.asked(line):
            with contextlib.suppress(ConnectionError):
                self.management.sendall(answer.encode() + b"\n")


def _start(text: str, folder: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start it with the configuration `text`; give it and the reading end of its output."""
    output, its_output = os.pipe()
    try:
        process = subprocess.Popen(
            ["openvpn", "--config", "stdin"],
            stdin=subprocess.PIPE,
            stdout=its_output,
            stderr=subprocess.STDOUT,
            cwd=folder,
        )
    except OSError as error:
        os.close(output)
        detail = f"OpenVPN does not start: {error.strerror}"
        raise TunnelFailed(pb.FAILURE_UNSUPPORTED, pb.STAGE_NONE, detail) from None
    finally:
        os.close(its_output)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as stdin:
        stdin.write(text.encode())
    return process, output


def _wait_for_either(listener: socket.socket, process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait until somebody connects to `listener`, the process ends, or the time is over."""
    died = os.pidfd_open(process.pid)
    try:
        select.select([listener.fileno(), died], [], [], max(seconds, 0))
    finally:
        os.close(died)


def _why_not_started(output: bytes) -> str:
    lines = [logged(line) for line in output.decode(errors="replace").splitlines()]
    texts = [line.text for line in lines if line is not None]
    telling = [text for text in texts if "error" in text.lower()] or texts or ["it said nothing"]
    return shown(f"OpenVPN does not start: {telling[0]}")
