"""WireGuard in user space: one `wireguard-go` for each tunnel, spoken to through its own socket.

Source: wireguard.com/xplatform, "Cross-platform Userspace Implementation": `set=1` and `get=1`, keys in hex.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from sonde_agent.net.peer import Peer
from sonde_agent.tunnel import links
from sonde_agent.tunnel.backends.base import Room
from sonde_agent.tunnel.backends.wireguard import WireGuardBackend
from sonde_proto.profiles import WireGuard

_PROGRAM = "wireguard-go"
_SOCKETS = Path("/var/run/wireguard")  # compiled into it; private, because the box's /run is
_TUN = Path("/dev/net/tun")
_START_S = 5.0  # it takes 10 ms; more only on a host that is out of processor or memory
_ANSWER_S = 5.0
_END_S = 1.0


class WireGuardGo(WireGuardBackend):
    """One tunnel by wireguard-go."""

    def __init__(self) -> None:
        super().__init__()
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path | None = None

    @property
    def name(self) -> str:
        """As configuration and results call it."""
        return "wireguard-go"

    def lacks(self) -> str | None:
        """What this host lacks for it and how to mend that, or None."""
        if shutil.which(_PROGRAM) is None:
            return f"{_PROGRAM} is not installed: apt install {_PROGRAM}"
        if not _TUN.exists():
            return f"there is no {_TUN}: modprobe tun, or pass the device into this container"
        return None

    def _make(self, room: Room) -> None:
        self._log = room.folder / f"{self.device}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [_PROGRAM, "--foreground", self.device],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", os.defpath), "LOG_LEVEL": "error"},
            )
        until = min(room.deadline, time.monotonic() + _START_S)
        while True:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                self._ask("get=1\n\n")
                break
            if ended := self._ended():
                raise OSError(ended)
            if time.monotonic() > until:
                raise TimeoutError(f"{_PROGRAM} does not answer on its socket")
            time.sleep(0.001)
        links.move(self.device, room.host_netns, room.box_netns)

    def _set_key(self, private_key: bytes) -> None:
        self._ask(f"set=1\nprivate_key={private_key.hex()}\n\n")

    def _set_peer(self, settings: WireGuard, peer: Peer, keepalive_s: int) -> None:
        preshared = f"preshared_key={settings.preshared_key.hex()}\n" if settings.preshared_key else ""
        allowed = "".join(f"allowed_ip={network}\n" for network in settings.allowed_ips)
        self._ask(
            f"set=1\nreplace_peers=true\npublic_key={settings.public_key.hex()}\n{preshared}"
            f"endpoint={peer.endpoint}\nreplace_allowed_ips=true\n{allowed}"
            f"persistent_keepalive_interval={keepalive_s}\n\n"
        )

    def _shaken_ns(self) -> int:
        said = self._ask("get=1\n\n")
        seconds = int(said.get("last_handshake_time_sec", 0))
        return seconds * 10**9 + int(said.get("last_handshake_time_nsec", 0))

    def _ended(self) -> str | None:
        if self._process is None or self._process.poll() is None:
            return None
        said = self._log.read_text(errors="replace").strip().splitlines() if self._log else []
        return f"{_PROGRAM} ended: {said[-1][:200] if said else f'exit {self._process.returncode}'}"

    def down(self) -> None:
        """Remove the device. WireGuard has no goodbye."""
        if self._process is not None:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        (_SOCKETS / f"{self.device}.sock").unlink(missing_ok=True)

    def _ask(self, request: str) -> dict[str, str]:
        """Send one request and give the answer's keys, of a repeated one the last.

        Raises:
            OSError: it is not there, or refuses.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(_ANSWER_S)
            sock.connect(str(_SOCKETS / f"{self.device}.sock"))
            sock.sendall(request.encode())
            answer = bytearray()
            while not answer.endswith(b"\n\n"):
                part = sock.recv(65536)
                if not part:
                    raise ConnectionResetError(f"{_PROGRAM} closed its socket")
                answer += part
        said = dict(line.split("=", 1) for line in answer.decode("ascii").split("\n") if "=" in line)
        code = int(said.get("errno", 5))
        if code:
            raise OSError(abs(code), f"{_PROGRAM} refuses {request.splitlines()[-1].partition('=')[0]}")
        return said
