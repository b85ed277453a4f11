"""The demo: a world to measure, an embedded database, a collector, agents, and a live table.

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
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from sonde_lab.demo import files, screen, watch
from sonde_lab.demo.direct import Direct
from sonde_lab.demo.files import Places
from sonde_lab.demo.host import DemoError, free_port, only_one, socket_path
from sonde_lab.demo.processes import Child, ChildFailed, wait_until
from sonde_lab.demo.tunnels import Tunnels
from sonde_lab.demo.webhook import Webhook
from sonde_lab.demo.world import World
from sonde_lab.programs import LabError

_BIN = Path(sysconfig.get_path("scripts"))
_HTTP_PORT, _GRPC_PORT, _METRICS_PORT = 7480, 7443, 7481
_REFRESH_S = 1.0
_PLAIN_EVERY_S = 5.0
_RATE_OVER_S = 10.0
_WIDTH = 110  # where nothing says how wide the screen is


def run(folder: Path, seconds: float | None, *, direct: bool = False) -> int:
    """Run the demo until Ctrl-C, or for `seconds` after the agents' start.

    Args:
        folder: for its files.
        seconds: None = until Ctrl-C.
        direct: without the virtual internet and its tunnels.

    Returns:
        0 when every agent's results arrived, else 1.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    folder = folder.absolute()
    try:
        with only_one(folder) as lock:
            return _Demo(folder, lock, direct=direct).run(seconds)
    except (DemoError, ChildFailed) as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("ended before the first result")
    return 1


def _console() -> Console:
    """Give a console that leaves tables whole where the output is a file or a pipe."""
    console = Console()
    return console if console.is_terminal else Console(width=_WIDTH)


class _Demo:
    def __init__(self, folder: Path, lock: int, *, direct: bool) -> None:
        self._folder = folder
        self._lock = lock
        self._direct = direct
        self._children: list[Child] = []
        (folder / "logs").mkdir(exist_ok=True)

    def run(self, seconds: float | None) -> int:
        with ExitStack() as stack:
            webhook = stack.enter_context(Webhook())
            world = self._world(stack)
            places = self._collector(stack, world, webhook)
            agents = stack.enter_context(ExitStack())
            since = self._agents(places, world, agents)
            with psycopg.connect(_dsn(places), autocommit=True) as connection:
                try:
                    self._watch(connection, world, since, seconds)
                except KeyboardInterrupt:
                    print()
                print("stopping the agents; what they hold is sent first")
                agents.close()
                view = watch.look(connection, since)
                connection.execute("CALL rollup_performance_logs()")
                _console().print(world.picture(view))
            print(_answers_of(places, view))
            print(screen.heard(webhook.heard))
        absent = world.missing(view, seconds) + world.unheard(webhook.heard)
        print(screen.summary(view.counts, str(_shown(places.collector_toml))))
        for line in absent:
            print(line, file=sys.stderr)
        if absent:
            print(f"the programs' own words are in {_shown(self._folder / 'logs')}/", file=sys.stderr)
        return 1 if absent else 0

    def _world(self, stack: ExitStack) -> World:
        """Start the virtual internet where this user can have one, else what needs no tunnel."""
        world: World
        if not self._direct:
            world = Tunnels(self._folder)
            try:
                world.start(stack, self._child)
            except LabError as error:
                reason = " ".join(str(error).split())
                print(f"left out: the virtual internet with its VPN servers ({reason}); direct checks run")
            else:
                return world
        world = Direct(self._folder)
        world.start(stack, self._child)
        return world

    def _collector(self, stack: ExitStack, world: World, webhook: Webhook) -> Places:
        """Start the collector; on other ports when a program took ours between our look and its start."""
        print("starting PostgreSQL and the collector")
        for preferred in (True, False):
            places = self._write(world, webhook, preferred=preferred)
            _command("sonde-collector", "migrate", "--config", places.collector_toml)
            argv = (_BIN / "sonde-collector", "serve", "--config", places.collector_toml)
            child = self._child(stack, "collector", argv)
            try:
                # Its own word first: on a port that was taken, another program might answer.
                self._until(_says(child, b'"serving"'), "the collector's start")
                self._until(_answers(f"http://{places.http}/readyz"), "the collector's start")
            except ChildFailed as error:
                if not preferred or "already in use" not in str(error):
                    raise
                self._children.remove(child)
                continue
            break
        _command("sonde-collector", "apply", places.fleet_toml, "--config", places.collector_toml)
        return places

    def _write(self, world: World, webhook: Webhook, *, preferred: bool) -> Places:
        """Write collector.toml, fleet.toml and one agent-CODE.toml for each vantage."""
        ports = iter(range(_METRICS_PORT, _METRICS_PORT + len(world.vantages)))

        def address(port: int) -> str:
            return f"127.0.0.1:{free_port(('127.0.0.1',), port if preferred else 0)}"

        places = Places(
            folder=self._folder,
            grpc=f"unix:{socket_path(self._folder)}" if world.by_socket else address(_GRPC_PORT),
            http=address(_HTTP_PORT),
            metrics={code: "" if world.by_socket else address(next(ports)) for code in world.vantages},
        )
        places.collector_toml.write_text(files.collector(places))
        places.fleet_toml.write_text(world.fleet(webhook.url))
        for code in world.vantages:
            places.agent_toml(code).write_text(files.agent(places, code, world.agent(code)))
        return places

    def _agents(self, places: Places, world: World, agents: ExitStack) -> datetime:
        """Start the agents; return when."""
        print(f"starting {len(world.vantages)} agents")
        since = datetime.now(UTC)
        for code in world.vantages:
            argv = (_BIN / "sonde-agent", "run", "--config", places.agent_toml(code))
            launch = world.launch(code, argv)
            self._child(agents, f"agent-{code}", launch.argv, before=launch.before)
        return since

    def _child(
        self,
        stack: ExitStack,
        name: str,
        argv: Sequence[str | Path],
        before: Callable[[], None] | None = None,
    ) -> Child:
        child = Child(name, argv, logs=self._folder / "logs", lock_fd=self._lock, before=before)
        self._children.append(child)
        stack.callback(child.stop)
        return child

    def _until(self, ready: Callable[[], bool], what: str) -> None:
        wait_until(ready, seconds=60, what=what, children=self._children)

    def _watch(
        self, connection: psycopg.Connection, world: World, since: datetime, seconds: float | None
    ) -> None:
        """Show what arrives until the time is over; Ctrl-C raises."""
        console = _console()
        begun = time.monotonic()
        seen: list[tuple[float, int]] = []
        told = begun
        with ExitStack() as stack:
            live = (
                stack.enter_context(Live(console=console, auto_refresh=False, transient=True))
                if console.is_terminal
                else None
            )
            while seconds is None or time.monotonic() - begun < seconds:
                for child in self._children:
                    child.check()
                now = time.monotonic()
                if (happened := world.tend(now - begun, seconds)) is not None:
                    console.print(f"{now - begun:.0f} s · {happened}")
                view = watch.look(connection, since)
                seen = [(at, rows) for at, rows in seen if now - at <= _RATE_OVER_S] + [(now, view.rows)]
                passed = now - seen[0][0]
                flow = screen.flow(
                    view,
                    seconds=now - begun,
                    rows_per_s=(view.rows - seen[0][1]) / passed if passed else 0.0,
                )
                if live:
                    live.update(Group(world.picture(view), Text(flow)), refresh=True)
                elif now - told >= _PLAIN_EVERY_S:
                    told = now
                    print(flow, flush=True)
                time.sleep(_REFRESH_S)


def _answers_of(places: Places, view: watch.View) -> str:
    """Give the ranking, and the trend of one server, as the collector's own commands print them."""
    ask = [["ranking", "--days", "1"]]
    fast = [line.target for line in view.tunnels if line.download_mbps is not None]
    measured = [*fast, *(line.target for line in view.tunnels), *(line.target for line in view.pings)]
    ask += [["trend", measured[0], "--days", "1"]] if measured else []
    return "\n".join(_command("sonde-collector", *words, "--config", places.collector_toml) for words in ask)


def _command(program: str, *arguments: str | Path) -> str:
    """Run one of our commands to its end; give what it printed.

    Raises:
        DemoError: it failed; the message holds what it said.
    """
    done = subprocess.run(
        (_BIN / program, *arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        words = " ".join(map(str, (program, *arguments)))
        raise DemoError(f"`{words}` failed:\n{(done.stdout + done.stderr).strip()}")
    return done.stdout


def _dsn(places: Places) -> str:
    return _command("sonde-collector", "sql", "--dsn", "--config", places.collector_toml).strip()


def _says(child: Child, word: bytes) -> Callable[[], bool]:
    return lambda: word in child.log.read_bytes()


def _answers(url: str) -> Callable[[], bool]:
    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 -- our own address
                return bool(answer.status == 200)  # noqa: PLR2004
        except OSError:
            return False

    return answers


def _shown(path: Path) -> Path:
    """Return the path as a person in this folder would type it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt
