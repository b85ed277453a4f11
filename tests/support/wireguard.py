"""A WireGuard provider in namespaces of its own: a host that connects, and servers behind a veth."""

import base64
import contextlib
import os
import secrets
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from pathlib import Path
from types import TracebackType
from typing import Self

from support.programs import eventually

from sonde_agent.tunnel import links, namespaces
from sonde_proto.profiles.x25519 import public_key

HOST, SERVER = "198.51.100.2", "198.51.100.1"
HOST6, SERVER6 = "2001:db8:1::2", "2001:db8:1::1"
OURS, THEIRS = "10.66.0.2", "10.66.0.1"
OURS6, THEIRS6 = "fd66::2", "fd66::1"


def missing() -> str | None:
    """What this host lacks for real WireGuard in user space, or None."""
    if os.geteuid() != 0:
        return "needs root (network namespaces)"
    for program in ("wireguard-go", "wg", "ip"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None


class Provider:
    """Two joined namespaces: `host`, where an agent would live, and `far`, where the servers are."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.client_key = os.urandom(32)
        self._undo = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self.host, self.far, self.box = (self._netns() for _ in range(3))
        self.near, away = f"sd{secrets.token_hex(4)}", f"sd{secrets.token_hex(4)}"
        with links.netlink(self.host) as there:
            there.link("add", ifname=self.near, kind="veth", peer={"ifname": away, "net_ns_fd": self.far})
        links.configure(self.host, self.near, addresses=[f"{HOST}/24", f"{HOST6}/64"], mtu=1500, routes=[])
        links.configure(self.far, away, addresses=[f"{SERVER}/24", f"{SERVER6}/64"], mtu=1500, routes=[])
        for netns in (self.host, self.far, self.box):
            links.raise_loopback(netns)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    def _netns(self) -> int:
        netns = namespaces.new_netns()
        self._undo.callback(os.close, netns)
        return netns

    def serve(self, port: int, *, preshared: bytes | None = None, knows: bytes | None = None) -> bytes:
        """Start a WireGuard server and give its public key; `knows`: the client's key instead of ours."""
        private, device = os.urandom(32), f"sd{secrets.token_hex(4)}"
        with namespaces.inside(self.far):
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "wireguard-go", "--foreground", device],
                env={**os.environ, "LOG_LEVEL": "error"},
                stderr=subprocess.DEVNULL,
            )
        control = Path("/var/run/wireguard") / f"{device}.sock"
        self._undo.callback(_end, process, control)
        eventually(lambda: control.exists() or None, 5, f"no {control}")
        lines = [
            f"[Interface]\nPrivateKey = {text(private)}\nListenPort = {port}",
            f"[Peer]\nPublicKey = {text(public_key(knows or self.client_key))}",
            f"AllowedIPs = {OURS}/32, {OURS6}/128",
        ]
        if preshared:
            lines.append(f"PresharedKey = {text(preshared)}")
        config = self.folder / f"{device}.conf"
        config.write_text("\n".join(lines))
        with namespaces.inside(self.far):
            subprocess.run(["wg", "setconf", device, config], check=True)
        inside = [f"{THEIRS}/24", f"{THEIRS6}/64"]
        links.configure(self.far, device, addresses=inside, mtu=1420, routes=[])
        return public_key(private)

    def answer(self, port: int, reply: Callable[[bytes], bytes | None]) -> None:
        """Answer every datagram to `port` with what `reply` makes of it; None = silence."""
        with namespaces.inside(self.far):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((SERVER, port))

        def run() -> None:
            with contextlib.suppress(OSError):
                while True:
                    data, sender = sock.recvfrom(2048)
                    if not data:
                        return
                    if made := reply(data):
                        sock.sendto(made, sender)

        self._thread(run, lambda: self._send_far(b"", port), sock)

    def delay(self, port: int, to_port: int, one_way_s: float) -> "Line":
        """Let `port` be `to_port` with a delay each way."""
        with namespaces.inside(self.far):
            outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            outside.bind((SERVER, port))
            inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            inner.connect((SERVER, to_port))
        line = Line(outside, inner, one_way_s)
        self._thread(line.run, line.stop, outside, inner, *line.wake)
        return line

    def _send_far(self, data: bytes, port: int) -> None:
        with namespaces.inside(self.far), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(data, (SERVER, port))

    def _thread(self, run: Callable[[], None], stop: Callable[[], None], *sockets: socket.socket) -> None:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()

        def end() -> None:
            stop()
            thread.join(5)
            for sock in sockets:
                sock.close()

        self._undo.callback(end)

    def profile(self, port: int, server_public: bytes, **said: str) -> bytes:
        """A provider's file for one of the servers; `said` replaces or adds a line's value."""
        lines = {
            "PrivateKey": text(self.client_key),
            "Address": f"{OURS}/32, {OURS6}/128",
            "DNS": THEIRS,
            "PublicKey": text(server_public),
            "AllowedIPs": "0.0.0.0/0, ::/0",
            "Endpoint": f"{SERVER}:{port}",
        } | said
        of_peer = ("PublicKey", "PresharedKey", "AllowedIPs", "Endpoint", "PersistentKeepalive")
        interface = [f"{key} = {value}" for key, value in lines.items() if key not in of_peer]
        peer = [f"{key} = {value}" for key, value in lines.items() if key in of_peer]
        return "\n".join(["[Interface]", *interface, "", "[Peer]", *peer, ""]).encode()


class Line:
    """A delay of UDP datagrams, first in, first out, both ways; it notes how late it was."""

    def __init__(self, outside: socket.socket, inner: socket.socket, one_way_s: float) -> None:
        self._outside, self._inner, self._one_way_s = outside, inner, one_way_s
        self.wake = socket.socketpair()
        self._running = True
        self.drop = 0
        """How many of the next datagrams are lost."""
        self.passes: list[float] = []
        """How long each datagram was held [s], in the order in which they went on."""

    def run(self) -> None:
        """Pass datagrams on until `stop`."""
        waiting: list[tuple[float, int, float, bool, bytes]] = []
        sender: tuple[str, int] | None = None
        number = 0
        while self._running:
            wait = max(waiting[0][0] - time.monotonic(), 0) if waiting else 1.0
            ready, _, _ = select.select([self._outside, self._inner, self.wake[0]], [], [], wait)
            now = time.monotonic()
            for sock in ready:
                if sock is self.wake[0]:
                    continue
                data, address = sock.recvfrom(65536)
                if self.drop:
                    self.drop -= 1
                    continue
                outward = sock is self._inner
                sender = sender if outward else address
                number += 1
                heappush(waiting, (now + self._one_way_s, number, now, outward, data))
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, came, outward, data = heappop(waiting)
                self.passes.append(time.monotonic() - came)
                if not outward:
                    self._inner.send(data)
                elif sender:
                    self._outside.sendto(data, sender)

    def stop(self) -> None:
        """End `run`, from another thread."""
        self._running = False
        self.wake[1].send(b"x")


@contextlib.contextmanager
def provider(folder: Path) -> Iterator[Provider]:
    """A provider for one test."""
    with Provider(folder) as made:
        yield made


def text(key: bytes) -> str:
    """A key as files write it."""
    return base64.b64encode(key).decode()


def _end(process: subprocess.Popen[bytes], control: Path) -> None:
    process.kill()
    process.wait(5)
    control.unlink(missing_ok=True)
