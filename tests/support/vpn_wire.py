"""A provider and a host on one wire, each in a network namespace that ends with this process."""

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from support.programs import eventually

from sonde_agent.tunnel import namespaces

PROVIDER, HOST = "192.0.2.1", "192.0.2.2"
PROVIDER6 = "2001:db8::1"
INSIDE = "198.51.100.9"  # behind the provider: reached only through a tunnel
_PROGRAM = Path(__file__).with_name("one_tunnel.py")
_TIE = ["setpriv", "--pdeathsig", "KILL", "--"]


def shell(*commands: str) -> None:
    """Runs commands that must succeed."""
    for command in commands:
        subprocess.run(command, shell=True, check=True)


class Place:
    """A network namespace, held by a sleeping process."""

    def __init__(self) -> None:
        self._holder = subprocess.Popen([*_TIE, "unshare", "-n", "sleep", "infinity"])
        path = f"/proc/{self._holder.pid}/ns/net"
        here = Path("/proc/self/ns/net").readlink()
        eventually(lambda: Path(path).readlink() != here, 10, "no namespace")
        self.prefix = ["nsenter", "-t", str(self._holder.pid), "-n"]
        self.fd = os.open(path, os.O_RDONLY)

    @property
    def pid(self) -> int:
        """Of the process that holds it."""
        return self._holder.pid

    def run(self, command: str) -> str:
        """What a shell command prints in there; it must succeed."""
        argv = [*self.prefix, "sh", "-c", command]
        return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout

    def end(self) -> None:
        """Kills the holder."""
        os.close(self.fd)
        self._holder.kill()
        self._holder.wait()


class Wire:
    """The provider's namespace, the host's, and a veth between them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.provider, self.host = Place(), Place()
        self._started: list[subprocess.Popen[bytes]] = []
        for place in (self.provider, self.host):  # no address that comes, or changes, a second later
            place.run("echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad")
        shell(
            f"ip link add wire{self.provider.pid} netns {self.provider.pid} type veth peer name eth0 "
            f"netns {self.host.pid}",
        )
        own = f"wire{self.provider.pid}"
        self.provider.run(
            f"ip link set lo up; ip addr add {PROVIDER}/24 dev {own}; ip link set {own} up;"
            f"ip addr add {PROVIDER6}/64 dev {own} nodad; ip addr add {INSIDE}/32 dev lo"
        )
        self.host.run(
            f"ip link set lo up; ip addr add {HOST}/24 dev eth0; ip link set eth0 up;"
            "ip addr add 2001:db8::2/64 dev eth0 nodad"
        )

    def serve(self, *argv: str, log: str, env: dict[str, str] | None = None) -> Path:
        """Starts a server at the provider; gives the file with what it says."""
        path = self.folder / log
        with path.open("wb") as out:
            process = subprocess.Popen(
                [*_TIE, *self.provider.prefix, *argv],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **(env or {})},
            )
        self._started.append(process)
        return path

    @contextlib.contextmanager
    def answering(
        self, kind: socket.SocketKind, port: int, answer: Callable[[bytes], bytes]
    ) -> Iterator[None]:
        """A server at the provider that answers whatever it gets with what `answer` makes of it."""
        with namespaces.inside(self.provider.fd):
            sock = socket.socket(socket.AF_INET, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((PROVIDER, port))
        work = _datagrams if kind == socket.SOCK_DGRAM else _streams
        ended = threading.Event()
        thread = threading.Thread(target=work, args=(sock, answer, ended))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            sock.close()

    def tunnel(self, **orders: Any) -> "Tunnel":
        """A tunnel from the host, as `one_tunnel` brings it up."""
        return Tunnel(self.host, orders)

    def end(self) -> None:
        """Ends all of it."""
        for process in self._started:
            process.kill()
            process.wait()
        self.provider.end()
        self.host.end()


def _datagrams(sock: socket.socket, answer: Callable[[bytes], bytes], ended: threading.Event) -> None:
    while not ended.is_set():
        if select.select([sock], [], [], 0.05)[0]:
            data, peer = sock.recvfrom(65536)
            if reply := answer(data):
                sock.sendto(reply, peer)


def _streams(sock: socket.socket, answer: Callable[[bytes], bytes], ended: threading.Event) -> None:
    sock.listen()
    while not ended.is_set():
        if select.select([sock], [], [], 0.05)[0]:
            connection, _ = sock.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(answer(connection.recv(65536)))
                connection.recv(65536)


class Tunnel:
    """One run of `one_tunnel`, in namespaces of its own as in a box.

    Attributes:
        stages: each that ended, and how long it took [ms].
        up: what the backend gave, or empty.
        failed: (failure, stage), or empty.
        detail: of the failure.
        ran: what each command inside printed.
        took_ms: until it was up or had failed.
        down_ms: how long its end took.
        left: files in its folder at the end.
    """

    def __init__(self, place: Place, orders: dict[str, Any]) -> None:
        self.stages: dict[str, float] = {}
        self.up: dict[str, Any] = {}
        self.failed: tuple[str, ...] = ()
        self.detail = ""
        self.ran: list[str] = []
        self.took_ms = self.down_ms = 0.0
        self.left: list[str] = []
        self._process = subprocess.Popen(
            [
                *_TIE,
                *place.prefix,
                "unshare",
                "-fp",
                "--kill-child",
                "--mount-proc",
                sys.executable,
                str(_PROGRAM),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say(json.dumps(orders))
        self._hold = bool(orders.get("hold"))
        self._hear(until="up" if self._hold else "left")

    def end(self) -> "Tunnel":
        """Takes it down, if it is not down by itself."""
        if self._hold and not self.failed:
            self._say("enough")
        self._hear(until="left")
        return self

    def lost(self) -> "Tunnel":
        """Waits until it goes down by itself."""
        self._hear(until="left")
        return self

    def processes(self, name: str) -> list[int]:
        """The processes in its PID namespace whose name begins with `name`."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        inside = Path(f"/proc/{children[0]}/ns/pid").readlink()
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (folder / "ns/pid").readlink() == inside and (folder / "comm").read_text().startswith(
                    name
                ):
                    found.append(int(folder.name))
        return sorted(found)

    def kill(self) -> None:
        """SIGKILL to what holds its PID namespace, so that all in it ends as it does when a box is killed."""
        self._process.kill()
        self._close()

    def _say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self, until: str) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said = json.loads(line)
            self._take(said)
            if until in said or "left" in said:
                break
        if until == "left":
            self._close()
            assert self._process.returncode == 0

    def _take(self, said: dict[str, Any]) -> None:
        if "stage" in said:
            self.stages[said["stage"].removeprefix("STAGE_")] = said["ms"]
        if "ran" in said:
            self.ran.append(said["out"])
        if "failed" in said:
            self.failed = (said["failed"].removeprefix("FAILURE_"), said["at"].removeprefix("STAGE_"))
        for name in ("up", "detail", "took_ms", "down_ms", "left"):
            if name in said:
                setattr(self, name, said[name])

    def _close(self) -> None:
        self._process.wait(10)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def wire(folder: Path) -> Iterator[Wire]:
    """A wire, ended at the end."""
    made = Wire(folder)
    try:
        yield made
    finally:
        made.end()
