"""An agent in a network of its own, where every packet is seen, with a collector in foreign hands."""

import contextlib
import http.server
import json
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support import own_network
from support.capture import Capture, Packet
from support.played_collector import PlayedCollector
from support.programs import BIN, eventually
from support.watched_file import WatchedFile

from sonde_agent.policy import DENIED
from sonde_proto.v1 import control_pb2, results_pb2

USER = "nobody"
WORLD, WORLD6 = "192.0.2.1", "2001:db8::1"
PORT = 8080
SECRET = "canary-5f1d9c"
_BLOCKED = tuple(map(ip_network, ("203.0.113.0/24", "192.0.2.66/32")))
_HOSTS = f"""127.0.0.1 localhost
::1 localhost
{WORLD} world.example blocked.example www.bank.example
10.9.9.9 inside.example
fd00::9 inside6.example
::ffff:10.9.9.9 mapped.example
203.0.113.7 asked-to-stop.example
"""
_NETWORK = f"""
ip link set lo up
ip address add {WORLD}/32 dev lo
ip address add 192.0.2.66/32 dev lo
ip -6 address add {WORLD6}/128 dev lo
ip route add default dev lo src {WORLD}
ip -6 route add default dev lo src {WORLD6}
sysctl -qw net.ipv4.ping_group_range='0 2147483647'
mount --bind "$1/hosts" /etc/hosts
mount --bind "$1/resolv.conf" /etc/resolv.conf
echo ready
exec sleep infinity
"""
_PROGRAM = """#!/bin/sh
echo "$0 $*" >> {log}
"""
POLICY = """
[policy]
deny_targets = ["never-this", "*.bank.example"]
files = ["files"]

[[policy.block]]
target = "203.0.113.0/24"
reason = "asked us to stop"

[[policy.block]]
target = "blocked.example"
reason = "a competitor"

[[policy.block]]
target = "192.0.2.66"
reason = "ends in the test"
until = 2020-01-01T00:00:00Z

[credential.lab]
profiles = "profiles"
"""


def missing() -> str | None:
    """What this machine lacks for a stage; None = nothing."""
    if os.geteuid() != 0:
        return "needs root"
    lacking = [
        name for name in ("unshare", "nsenter", "setpriv", "ip", "sysctl") if shutil.which(name) is None
    ]
    return f"{', '.join(lacking)} missing" if lacking else None


class Sink:
    """A web server of the attacker's in that network: leads elsewhere, and sends without end."""

    def __init__(self, holder: int) -> None:
        self.asked: list[str] = []
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle(self) -> None:
                with contextlib.suppress(OSError):  # the agent hung up
                    super().handle()

            def do_GET(self) -> None:
                sink.asked.append(f"{self.path} {self.headers}")
                parts = urlsplit(self.path)
                if parts.path == "/to":
                    self.send_response(302)
                    self.send_header("Location", parse_qs(parts.query)["url"][0])
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                elif parts.path == "/endless":
                    self.send_response(200)
                    self.send_header("Content-Length", str(10**12))
                    self.end_headers()
                    while True:
                        self.wfile.write(b"a" * 65_536)
                else:
                    self.send_response(200)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"ok")
                self.close_connection = True

            def do_PUT(self) -> None:
                sink.asked.append(f"PUT {self.path}")
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        def serve() -> None:
            own_network.join(holder)
            with http.server.ThreadingHTTPServer(("0.0.0.0", PORT), Handler) as server:
                server.daemon_threads = True
                self._server = server
                ready.set()
                server.serve_forever(0.05)

        ready = threading.Event()
        self._thread = threading.Thread(target=serve)
        self._thread.start()
        ready.wait(10)

    def close(self) -> None:
        """Ends it."""
        self._server.shutdown()
        self._thread.join()


class Stage:
    """The agent, who plays its collector, and what was seen of it.

    Attributes:
        collector: the played one.
        packets: all of the network, so far.
        files: what a task may name.
        canary: what it may not.
    """

    def __init__(self, folder: Path, policy: str) -> None:
        self.folder = folder
        self.files, self.state = folder / "files", folder / "state"
        for made in (self.files, self.state, folder / "profiles", folder / "bin"):
            made.mkdir()
        folder.chmod(0o755)
        owner = pwd.getpwnam(USER)
        os.chown(self.state, owner.pw_uid, owner.pw_gid)
        (folder / "hosts").write_text(_HOSTS)
        (folder / "resolv.conf").write_text("nameserver 192.0.2.1\noptions timeout:1 attempts:1\n")
        (self.files / "header").write_text("allowed\n")
        self.ran = folder / "ran"
        self.ran.touch()
        self.ran.chmod(0o666)
        for name in ("iperf3", "speedtest-cli", "openvpn", "ssh", "sh", "setpriv", "curl"):
            program = folder / "bin" / name
            program.write_text(_PROGRAM.format(log=self.ran))
            program.chmod(0o755)
        self.canary = WatchedFile(folder / "canary")
        self.canary.path.write_text(SECRET)
        (folder / "profiles" / "link.conf").symlink_to(self.canary.path)
        self.config = folder / "agent.toml"
        self.config.write_text(
            f'collector = "unix:{folder}/collector.sock"\nvantage = "v"\nstate_dir = "state"\nmetrics = ""\n'
            f'[tunnels]\nhelper = "{folder}/nobody-there.sock"\n{policy}'
        )
        self.log = folder / "log"
        self.children: set[str] = set()
        self.collector: PlayedCollector
        self.packets: list[Packet] = []
        self.process: subprocess.Popen[bytes]
        self._over = threading.Event()

    @contextlib.contextmanager
    def up(self) -> Iterator["Stage"]:
        """All of it, while the context lasts."""
        with contextlib.ExitStack() as stack:
            make = ["unshare", "--net", "--mount", "sh", "-ec", _NETWORK, "sh", str(self.folder)]
            holder = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", *make], stdout=subprocess.PIPE)
            stack.callback(_end, holder)
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"ready\n"
            stack.enter_context(contextlib.closing(holder.stdout))
            capture = stack.enter_context(Capture(Path(f"/proc/{holder.pid}/ns/net")))
            self.packets = capture.packets
            self.sink = stack.enter_context(contextlib.closing(Sink(holder.pid)))
            self.collector = stack.enter_context(PlayedCollector(self.folder / "collector.sock"))
            (self.folder / "collector.sock").chmod(0o666)
            stack.enter_context(self.canary)
            self._start(holder.pid)
            stack.callback(_end, self.process)
            watching = threading.Thread(target=self._watch_children)
            watching.start()
            stack.callback(watching.join)
            stack.callback(self._over.set)
            yield self

    def _start(self, holder: int) -> None:
        as_user = ["setpriv", f"--reuid={USER}", "--regid=nogroup", "--clear-groups", "--pdeathsig", "KILL"]
        enter = [str(shutil.which("nsenter")), "--net", "--mount", f"--target={holder}", "--"]
        command = [str(shutil.which("setpriv")), *as_user[1:], "--", str(BIN / "sonde-agent")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*enter, *command, "run", "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": f"{self.folder}/bin", "HOME": "/nonexistent", "SONDE_DEBUG": "0"},
            )

    def _watch_children(self) -> None:
        """See what the agent starts: its threads' children, a hundred times a second."""
        listed = Path(f"/proc/{self.process.pid}/task")
        while not self._over.wait(0.01):
            with contextlib.suppress(OSError):
                for thread in listed.iterdir():
                    for child in (thread / "children").read_text().split():
                        command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                        self.children.add(command)

    # ── what tests ask ──────────────────────────────────────────────────────────────────────────────────

    def measure(self, *tasks: control_pb2.Task, slots: int = 2, **more: Any) -> control_pb2.AgentState:
        """Assign tasks beside an honest one; return when that ran so often, and so theirs fell due."""
        target = f"honest-{time.monotonic_ns()}"
        task = control_pb2.Task(key=target, target=target, interval_ms=1000, timeout_ms=5000)
        task.endpoint.kind = results_pb2.ENDPOINT_KIND_TCP
        task.endpoint.url = f"{WORLD}:{PORT}"
        state = self.collector.taken(self.collector.assign(task, *tasks, **more))
        eventually(
            lambda: sum(one.endpoint.ok for one in self.collector.results(target)) >= slots,
            30,
            lambda: f"{self.collector.states[-1:]} {self.tail()}",
        )
        return state

    def is_well(self) -> None:
        """Assert that the agent lives, had no defect, and touched nothing that it may not."""
        assert self.process.poll() is None, self.tail()
        log = self.log.read_text(errors="replace")
        assert "Traceback" not in log, self.tail()
        events = [json.loads(line) for line in log.splitlines()]  # each line is one of ours
        broke = [event for event in events if event["event"] in ("check_broke", "rule_broke")]
        assert not broke, broke
        assert not self.touched(), self.touched()
        assert not self.canary.touched(), "the canary was opened"
        told = b"".join(self.collector.raw) + "".join(self.sink.asked).encode()
        assert SECRET.encode() not in told
        assert not self.ran.read_text(), self.ran.read_text()
        assert not self.children, self.children

    def touched(self) -> list[str]:
        """Packets to where nothing may be sent; not those of the kernel's own, to its neighbours."""
        return [
            str(packet)
            for packet in tuple(self.packets)
            if packet.destination and not packet.destination.startswith("ff02::") and _is_denied(packet)
        ]

    def peak_mb(self) -> float:
        """The most memory that the agent had so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:]


def _is_denied(packet: Packet) -> bool:
    address = ip_address(packet.destination)
    return any(address in network for network in (*DENIED, *_BLOCKED[:1]))


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def stage(policy: str = POLICY) -> Iterator[Stage]:
    """A stage whose agent has that policy; root only."""
    folder = Path(tempfile.mkdtemp(prefix="sonde-h-"))
    try:
        with Stage(folder, policy).up() as made:
            yield made
    finally:
        shutil.rmtree(folder)
