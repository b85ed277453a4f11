"""A small fleet on loopback: PostgreSQL, collectors, agents behind proxies that can be cut; and its audit.

The agents are real processes with real checks (ICMP echoes and TCP connects to loopback addresses), the
database a real server that can be killed. What an agent measured is read from its own spool, whose rows keep
their bytes after the ack; what arrived is read from PostgreSQL; the audit compares the two, seq by seq.
"""

import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

import psycopg
from support.audit import audit_stream, read_spool
from support.postgres import Server
from support.programs import Program, eventually, free_port, run
from support.proxy_thread import ThreadedProxy

SERVERS = 40
TARGETS = 10


_HEAD = """
[[vantage]]
code = "ams1"
city = "Amsterdam"
country = "NL"

[[vantage]]
code = "nyc1"
city = "New York"
country = "US"

[[provider]]
key = "acme"
name = "Acme VPN"

[[plan]]
key = "pings"
checks = ["ping"]
servers = "*"
every = "1s"
success = "ping"
ping = { count = 2, spacing = "10ms", wait = "500ms" }

[[plan]]
key = "ports"
checks = ["endpoint"]
targets = "*"
every = "1s"
timeout = "1s"
"""

_SERVER = """
[[server]]
key = "s{n}"
provider = "acme"
city = "Berlin"
country = "DE"
ip_address = "127.1.0.{n}"
"""

_TARGET = """
[[target]]
key = "closed{n}"
kind = "tcp"
host = "127.2.0.{n}"
port = 1
"""


def fleet_toml(*, reverse: bool = False) -> str:
    """The inventory; with `reverse` the same keys get other row ids."""
    order = -1 if reverse else 1
    servers = [_SERVER.format(n=n) for n in range(1, SERVERS + 1)][::order]
    targets = [_TARGET.format(n=n) for n in range(1, TARGETS + 1)][::order]
    return "".join([_HEAD, *servers, *targets])


@dataclass
class Agent:
    """One agent: its directory, its proxy to the collectors, its process."""

    code: str
    directory: Path
    proxy: ThreadedProxy
    program: Program

    @property
    def spool(self) -> Path:
        """The spool's file."""
        return self.directory / "state" / "spool.sqlite"


@dataclass
class Fleet:
    """All of it. `with Fleet(...) as fleet:` ends every process."""

    directory: Path
    server: Server
    database: str
    """Name of the database now in use."""
    spool_bytes: str = "64MB"
    agents: list[Agent] = field(default_factory=list)
    collectors: list[Program] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)
    graves: list[Path] = field(default_factory=list)
    """Spools that were taken out of use, kept for the audit."""
    databases: list[str] = field(default_factory=list)
    """Every database that was in use."""

    def __post_init__(self) -> None:
        """Counts the first database."""
        self.databases.append(self.database)

    def __enter__(self) -> Self:
        """Starts one collector and two agents, and returns when both have sent something."""
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            self.add_collector()
            self._wait_for_collector()
            for code in ("ams1", "nyc1"):
                self.add_agent(code)
            for agent in self.agents:
                self._wait(agent, 30, partial(_has_sent, agent.spool))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends every process that is still there."""
        for program in [*(agent.program for agent in self.agents), *self.collectors]:
            program.kill()
        for agent in self.agents:
            agent.proxy.close()

    def add_collector(self) -> int:
        """One more collector on the same database; returns its index."""
        port, index = free_port(), len(self.collectors)
        folder = self.directory / f"collector{index}"
        folder.mkdir()
        config = folder / "collector.toml"
        config.write_text(collector_toml(self.server.url(self.database), port))
        self.collectors.append(
            Program("sonde-collector", "serve", "--config", str(config), log=folder / "log")
        )
        self.ports.append(port)
        self.collectors[-1].start()
        return index

    def _wait_for_collector(self) -> None:
        def listens() -> bool:
            assert self.collectors[0].running, self.collectors[0].tail()
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", self.ports[0])) == 0

        eventually(listens, 30, self.collectors[0].tail)

    def use_database(self, name: str) -> None:
        """Points every collector at another database; takes effect when they start again."""
        self.database = name
        self.databases.append(name)
        for index, port in enumerate(self.ports):
            config = self.directory / f"collector{index}" / "collector.toml"
            config.write_text(collector_toml(self.server.url(name), port))

    def add_agent(self, code: str, *, state_of: Agent | None = None) -> Agent:
        """One more agent of a vantage; with `state_of`, on a copy of another's state."""
        folder = self.directory / f"agent{len(self.agents)}-{code}"
        folder.mkdir()
        if state_of is not None:
            copy_state(state_of.directory / "state", folder / "state")
        proxy = ThreadedProxy(self.ports[0])
        config = folder / "agent.toml"
        config.write_text(
            f'collector = "127.0.0.1:{proxy.port}"\nvantage = "{code}"\nstate_dir = "state"\nmetrics = ""\n'
            f'[spool]\nmax_bytes = "{self.spool_bytes}"\n[policy]\nallow = ["127.0.0.0/8"]\n'
        )
        program = Program("sonde-agent", "run", "--config", str(config), log=folder / "log")
        agent = Agent(code, folder, proxy, program)
        self.agents.append(agent)
        program.start()
        return agent

    def bury(self, agent: Agent) -> Path:
        """Keeps a copy of a stopped agent's spool for the audit; returns the copy."""
        grave = self.directory / f"grave{len(self.graves)}"
        copy_state(agent.directory / "state", grave)
        self.graves.append(grave / agent.spool.name)
        return grave

    def heal(self) -> None:
        """Everything runs and every way is open again."""
        if not self.server.running:
            self.server.start()
        for program in [*self.collectors, *(agent.program for agent in self.agents)]:
            if not program.running:
                program.start()
        for agent in self.agents:
            agent.proxy.heal()

    def drain(self, within_s: float = 100) -> None:
        """Waits until all that is in the spools by now is committed."""
        for agent in self.agents:
            self._wait(agent, within_s, agent.spool.exists)
            wanted = {stream.epoch: stream.highest for stream in read_spool(agent.spool, bodies=False)}
            self._wait(agent, within_s, partial(_drained, agent.spool, wanted))

    def _wait(self, agent: Agent, within_s: float, probe: Callable[[], bool]) -> None:
        def told() -> bool:
            assert agent.program.running, self.story(agent)
            return probe()

        eventually(told, within_s, lambda: self.story(agent))

    def story(self, agent: Agent) -> str:
        """What a person needs to see when an agent does not drain."""
        spools = "\n".join(
            f"  {s.epoch.hex()} acked {s.acked} of {s.highest}, gaps {s.gaps}"
            for s in (read_spool(agent.spool, bodies=False) if agent.spool.exists() else [])
        )
        told = "\n---\n".join(program.tail(2500) for program in (agent.program, *self.collectors))
        return f"{agent.directory.name}\n{spools}\n{told}"

    def audit(self) -> int:
        """Compares every spool with the database; returns how many results were compared.

        For each stream: committed = {1..cursor}, each seq once, as a row, a reject or inside a gap; nothing
        acked is missing; each row holds what its result said, and names the server that its result named.
        """
        compared = 0
        with psycopg.connect(self.server.url(self.database)) as conn:
            for spool in [*self.graves, *(agent.spool for agent in self.agents)]:
                for stream in read_spool(spool):
                    compared += audit_stream(conn, stream, spool)
            total = conn.execute(
                "SELECT count(*), count(*) FILTER (WHERE stream_id = 0) FROM performance_logs"
            ).fetchone()
            assert total is not None
            assert total[1] == 0, "rows without a stream"
        assert compared, "nothing was compared: the round measured nothing"
        return compared


def collector_toml(url: str, port: int) -> str:
    """The configuration of one collector."""
    return (
        f'state_dir = "state"\n[database]\nurl = "{url}"\n[grpc]\nlisten = ["127.0.0.1:{port}"]\n'
        f'[http]\nlisten = "127.0.0.1:{free_port()}"\n'
    )


def prepare_database(
    server: Server, name: str, directory: Path, *, reverse: bool = False, more: str = ""
) -> None:
    """Makes a database with schema and inventory (`more`: tables to add), by an operator's commands."""
    directory.mkdir(parents=True)
    server.create(name)
    config, inventory = directory / "collector.toml", directory / "fleet.toml"
    config.write_text(collector_toml(server.url(name), free_port()))
    inventory.write_text(fleet_toml(reverse=reverse) + more)
    for command in (("migrate",), ("apply", str(inventory))):
        done = run("sonde-collector", *command, "--config", str(config))
        assert done.returncode == 0, done.stdout + done.stderr


def copy_state(source: Path, to: Path) -> None:
    """Copies an agent's state directory as a backup tool does: new inodes, sockets and locks left out."""
    to.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.is_file() and not path.name.endswith(".lock"):
            shutil.copyfile(path, to / path.name)


def _has_sent(spool: Path) -> bool:
    return spool.exists() and any(stream.acked > SERVERS for stream in read_spool(spool, bodies=False))


def _drained(spool: Path, wanted: dict[bytes, int]) -> bool:
    now = {stream.epoch: stream.acked for stream in read_spool(spool, bodies=False)}
    return all(now.get(epoch, 0) >= seq for epoch, seq in wanted.items())


def settle(seconds: float) -> None:
    """Lets the fleet work for a while: the load between two faults is the point, not a wait for something."""
    time.sleep(seconds)
