"""The whole pipeline on one machine: edges, an embedded database, a collector, two agents, and a live table.

Every program is started as a user starts it, with configuration files that stay under var/demo.
"""

import signal
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from rich.console import Console
from rich.live import Live

from sonde_lab import certificates, demo_files, namespace, screen, watch
from sonde_lab.demo_files import VANTAGES, Plan
from sonde_lab.edges import EDGES, NAME
from sonde_lab.host import DemoError, free_port, has_ipv6, may_ping, only_one, socket_path
from sonde_lab.namespace import Namespace, NamespaceError
from sonde_lab.processes import Child, ChildFailed, wait_until

_BIN = Path(sysconfig.get_path("scripts"))
_PORTS = (7443, 7480, 7481, 7482)  # gRPC, HTTP, and /metrics of both agents
_ANY_PORTS = (0, 0, 0, 0)
_EDGE_PORT = "8443"
_REFRESH_S = 1.0
_PLAIN_EVERY_S = 5.0
_RATE_OVER_S = 10.0


def run(folder: Path, seconds: float | None) -> int:
    """Run the demo until Ctrl-C, or for `seconds` after the agents' start.

    Returns:
        0 when results of every check arrived from every agent, else 1.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    folder = folder.absolute()
    try:
        with only_one(folder) as lock:
            return _Demo(folder, lock).run(seconds)
    except (DemoError, ChildFailed) as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("ended before the first result")
    return 1


def missing(view: watch.View, *, ping: bool) -> list[str]:
    """Return, in words, which agent's results of which check did not arrive. **Pure.**"""
    there = {(count.vantage, count.table) for count in view.counts if count.rows}
    checks = [("sonde.endpoint_checks", "endpoint"), *([("performance_logs", "ping")] if ping else [])]
    return [
        f"no {check} result of {vantage} arrived"
        for vantage, _, _ in VANTAGES
        for table, check in checks
        if (vantage, table) not in there
    ]


def summary(counts: Sequence[watch.Count], config: Path) -> str:
    """Return the closing words: rows per agent and table, and how to look around. **Pure.**"""
    lines = [f"  {count.vantage:<6} {count.table:<24} {count.rows:>7} rows" for count in counts]
    return "\n".join(
        (
            "In PostgreSQL from this run:",
            *(lines or ["  nothing"]),
            "Look around:",
            f'  .venv/bin/sonde-collector sql --config {config} "TABLE sonde.endpoint_checks LIMIT 5"',
            f"  .venv/bin/sonde-collector status --config {config}",
        )
    )


class _Demo:
    def __init__(self, folder: Path, lock: int) -> None:
        self._folder = folder
        self._lock = lock
        self._children: list[Child] = []

    def run(self, seconds: float | None) -> int:
        room, ping = _room()
        with ExitStack() as stack:
            edge_port = self._edges(stack, room)
            plan = self._collector(stack, room, ping=ping, edge_port=edge_port)
            agents = stack.enter_context(ExitStack())
            since = self._agents(plan, room, agents)
            with psycopg.connect(_dsn(plan), autocommit=True) as connection:
                try:
                    self._watch(connection, since, seconds)
                except KeyboardInterrupt:
                    print()
                print("stopping the agents; what they hold is sent first")
                agents.close()
                view = watch.look(connection, since)
        absent = missing(view, ping=plan.ping)
        print(summary(view.counts, _shown(plan.collector_toml)))
        for line in absent:
            print(line, file=sys.stderr)
        if absent:
            print(f"the programs' own words are in {_shown(self._folder / 'logs')}/", file=sys.stderr)
        return 1 if absent else 0

    def _edges(self, stack: ExitStack, room: Namespace | None) -> int:
        """Start the edges; return their port."""
        print(f"starting {len(EDGES)} edges of {NAME}")
        tls = self._folder / "tls"
        for folder in (tls, self._folder / "logs"):
            folder.mkdir(exist_ok=True)
        certificates.write(tls, [NAME])
        argv = (sys.executable, "-m", "sonde_lab.edges", tls / "server.pem", tls / "server.key", _EDGE_PORT)
        edges = self._child(stack, "edges", argv, room=room)
        self._until(lambda: b"ready " in edges.log.read_bytes(), "the edges' start")
        return int(edges.log.read_text().partition("ready ")[2].split()[0])

    def _write(self, room: Namespace | None, *, ping: bool, edge_port: int, ports: tuple[int, ...]) -> Plan:
        local = "127.0.0.1"
        taken = [free_port((local,), port) for port in ports]
        plan = Plan(
            folder=self._folder,
            grpc=f"unix:{socket_path(self._folder)}" if room else f"{local}:{taken[0]}",
            http=f"{local}:{taken[1]}",
            metrics=("", "") if room else (f"{local}:{taken[2]}", f"{local}:{taken[3]}"),
            edge_port=edge_port,
            ping=ping,
            ipv6=has_ipv6(),
        )
        demo_files.write(plan)
        return plan

    def _collector(self, stack: ExitStack, room: Namespace | None, *, ping: bool, edge_port: int) -> Plan:
        """Start the collector; on other ports when a program took ours between our look and its start."""
        print("starting PostgreSQL and the collector")
        for ports in (_PORTS, _ANY_PORTS):
            plan = self._write(room, ping=ping, edge_port=edge_port, ports=ports)
            _command("sonde-collector", "migrate", "--config", plan.collector_toml)
            argv = (_BIN / "sonde-collector", "serve", "--config", plan.collector_toml)
            child = self._child(stack, "collector", argv, room=None)
            try:
                # Its own word first: on a port that was taken, another program might answer.
                self._until(lambda log=child.log: b'"serving"' in log.read_bytes(), "the collector's start")  # type: ignore[misc]
                self._until(lambda url=f"http://{plan.http}/readyz": _answers(url), "the collector's start")  # type: ignore[misc]
            except ChildFailed as error:
                if ports is _ANY_PORTS or "already in use" not in str(error):
                    raise
                self._children.remove(child)
                continue
            break
        _command("sonde-collector", "apply", plan.fleet_toml, "--config", plan.collector_toml)
        return plan

    def _agents(self, plan: Plan, room: Namespace | None, agents: ExitStack) -> datetime:
        """Start the agents; return when."""
        print(f"starting {len(VANTAGES)} agents")
        since = datetime.now(UTC)
        for code, _, _ in VANTAGES:
            argv = (_BIN / "sonde-agent", "run", "--config", plan.agent_toml(code))
            self._child(agents, f"agent-{code}", argv, room=room)
        return since

    def _child(
        self, stack: ExitStack, name: str, argv: Sequence[str | Path], *, room: Namespace | None
    ) -> Child:
        child = Child(
            name,
            argv,
            logs=self._folder / "logs",
            lock_fd=self._lock,
            before=room.enter if room else None,
        )
        self._children.append(child)
        stack.callback(child.stop)
        return child

    def _until(self, ready: Callable[[], bool], what: str) -> None:
        wait_until(ready, seconds=60, what=what, children=self._children)

    def _watch(self, connection: psycopg.Connection, since: datetime, seconds: float | None) -> None:
        """Show what arrives until the time is over; Ctrl-C raises."""
        console = Console()
        begun = time.monotonic()
        seen: list[tuple[float, int]] = []
        told = begun
        with ExitStack() as stack:
            live = (
                stack.enter_context(Live(console=console, auto_refresh=False))
                if console.is_terminal
                else None
            )
            while seconds is None or time.monotonic() - begun < seconds:
                for child in self._children:
                    child.check()
                view = watch.look(connection, since)
                now = time.monotonic()
                seen = [(at, rows) for at, rows in seen if now - at <= _RATE_OVER_S] + [(now, view.rows)]
                passed = now - seen[0][0]
                rate = (view.rows - seen[0][1]) / passed if passed else 0.0
                if live:
                    live.update(screen.picture(view, seconds=now - begun, rows_per_s=rate), refresh=True)
                elif now - told >= _PLAIN_EVERY_S:
                    told = now
                    print(screen.flow(view, seconds=now - begun, rows_per_s=rate), flush=True)
                time.sleep(_REFRESH_S)


def _room() -> tuple[Namespace | None, bool]:
    """Find where agents can ping: here, in a namespace of our own, or nowhere; say so unless it is here."""
    if may_ping():
        return None, True
    try:
        room = namespace.create()
    except NamespaceError as error:
        print(
            "left out: ping (this user may open no ICMP socket, and no user namespace either: "
            f"{error}); endpoint checks run"
        )
        return None, False
    print(
        "this user may not ping here, so agents and edges run in a user and network namespace of their own "
        "and reach the collector by a unix socket"
    )
    return room, True


def _command(program: str, *arguments: str | Path) -> None:
    """Run one of our commands to its end.

    Raises:
        DemoError: it failed; the message holds what it said.
    """
    done = subprocess.run(
        (_BIN / program, *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = " ".join(map(str, (program, *arguments)))
        raise DemoError(f"`{words}` failed:\n{(done.stdout + done.stderr).strip()}")


def _dsn(plan: Plan) -> str:
    done = subprocess.run(
        (_BIN / "sonde-collector", "sql", "--dsn", "--config", plan.collector_toml),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemoError(f"`sonde-collector sql --dsn` failed:\n{done.stderr.strip()}")
    return done.stdout.strip()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 -- our own address
            return bool(answer.status == 200)  # noqa: PLR2004
    except OSError:
        return False


def _shown(path: Path) -> Path:
    """Return the path as a person in this folder would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
