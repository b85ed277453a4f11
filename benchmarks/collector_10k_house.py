"""The collector, its PostgreSQL and the load of collector_10k.py: begun, watched, ended."""

import datetime as dt
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import psycopg
from collector_10k_agents import SERVERS, code

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.postgres import Server  # noqa: E402
from support.programs import Program, eventually, free_port, run  # noqa: E402

from sonde_collector.db.queries import query  # noqa: E402
from sonde_collector.pki import authority as pki  # noqa: E402
from sonde_collector.pki.folder import Folder  # noqa: E402

LOADS = 3  # processes that the agents are spread over
BACK_WITHIN_S = 600.0
STOOD_S = 3600.0  # how long the agents' connections count as having stood when they are lost
PG = {"shared_buffers": "256MB", "max_wal_size": "8GB", "synchronous_commit": "on"}


def fleet_toml(agents: int) -> str:
    """The inventory: a vantage and a plan for each agent, and SERVERS servers that each of them measures."""
    head = '[[provider]]\nkey = "p"\nname = "P"\n'
    servers = [
        f'[[server]]\nkey = "s{n}"\nprovider = "p"\ncity = "Berlin"\ncountry = "DE"\n'
        f'ip_address = "192.0.2.{n}"\n'
        for n in range(1, SERVERS + 1)
    ]
    each = [
        f'[[vantage]]\ncode = "{code(n)}"\ncity = "Amsterdam"\ncountry = "NL"\n'
        f'[[plan]]\nkey = "pings-{n}"\nchecks = ["ping"]\nservers = "*"\nvantages = ["{code(n)}"]\n'
        'every = "1m"\nsuccess = "ping"\n'
        for n in range(agents)
    ]
    return "\n".join([head, *servers, *each])


@dataclass
class Process:
    """What the kernel says of a process, sampled."""

    pid: int
    peak_mb: float = 0.0

    def rss_mb(self) -> float:
        """Its resident memory now [10^6 bytes]."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        found = {
            name: int(kb) * 1024 / 1e6
            for name, kb in re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", text, re.MULTILINE)
        }
        self.peak_mb = max(self.peak_mb, found["VmHWM"])
        return found["VmRSS"]

    def cpu_s(self) -> float:
        """Processor time that it took so far [s]."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Happened:
    """What the agents told since some moment, and how the collector was meanwhile."""

    began: float
    cpu_began_s: float = 0.0
    assigned: list[float] = field(default_factory=list)
    greeted: list[float] = field(default_factory=list)
    ack_ms: list[float] = field(default_factory=list)
    ended: Counter[str] = field(default_factory=Counter)
    watching: int = 0
    streaming: int = 0
    made: int = 0
    acked: int = 0
    rss_mb: float = 0.0
    cpu_s: float = 0.0
    lines: int = 0

    @property
    def back_s(self) -> float:
        """Until the last call stood."""
        return max(*self.assigned, *self.greeted) - self.began

    def per_second(self) -> int:
        """The most first answers of Watch in one second: each is a TLS handshake."""
        return max(Counter(int(at - self.began) for at in self.assigned).values())

    def told(self, agents: int) -> str:
        """In words."""
        places = sorted(at - self.began for at in self.assigned)
        half = places[len(places) // 2]
        reasons = "; ".join(f"{count} x {why}" for why, count in self.ended.most_common(3))
        return (
            f"all {agents} back after {self.back_s:.1f} s (half of them after {half:.1f} s, at most "
            f"{self.per_second()} a second), collector {self.cpu_s / self.back_s:.2f} cores, "
            f"{self.rss_mb:.0f} MB at most, {self.lines} lines of log; ended: {reasons or 'none'}"
        )


class House:
    """PostgreSQL, collector, load. `with House(...) as house:` ends all of it."""

    def __init__(self, folder: Path, agents: int) -> None:
        self.folder, self.agents = folder, agents
        self.server = Server(durable=True, settings=PG)
        self.ports = [free_port() for _ in range(3)]
        self.config = folder / "collector.toml"
        self.program = Program("sonde-collector", "serve", "--config", str(self.config), log=folder / "log")
        self.loads: list[subprocess.Popen[str]] = []
        self.notes: list[str] = []
        self.peak_mb = 0.0

    def __enter__(self) -> Self:
        """Everything but the agents."""
        try:
            self.server.start()
            self.server.create("bench")
            self.url = self.server.url("bench")
            pki_folder = Folder(self.folder / "pki")
            names = ("--name", "localhost", "--address", "127.0.0.1")
            self.command("pki", "init", "--dir", str(pki_folder.path), *names, config=False)
            self.config.write_text(
                f'state_dir = "state"\n[database]\nurl = "{self.url}"\n'
                f'[grpc]\nlisten = ["127.0.0.1:{self.ports[0]}"]\n'
                f'tls_cert = "{pki_folder.cert}"\ntls_key = "{pki_folder.key}"\n'
                f'client_ca = "{pki_folder.ca_cert}"\n'
                f'[http]\nlisten = "127.0.0.1:{self.ports[2]}"\n'
            )
            self.command("migrate")
            (self.folder / "fleet.toml").write_text(fleet_toml(self.agents))
            self.timed("apply", lambda: self.command("apply", str(self.folder / "fleet.toml")))
            self.timed("apply again", lambda: self.command("apply", str(self.folder / "fleet.toml")))
            self.timed("certificates", lambda: self.identities(pki_folder))
            self.serve()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends every process."""
        for load in self.loads:
            load.kill()
            load.wait()
        self.program.kill()
        self.server.stop()

    def command(self, *argv: str, config: bool = True) -> str:
        """Runs a command of the collector and gives what it printed."""
        end = ("--config", str(self.config)) if config else ()
        done = run("sonde-collector", *argv, *end, within_s=900)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def timed(self, what: str, work: Callable[[], object]) -> None:
        """Does it, and notes how long it took and how much it gave."""
        began = time.monotonic()
        given = work()
        size = f", {len(given) / 1e3:.0f} kB" if isinstance(given, str | bytes) else ""
        self.notes.append(f"{what} {time.monotonic() - began:.2f} s{size}")
        print(self.notes[-1], file=sys.stderr, flush=True)

    def identities(self, folder: Folder) -> None:
        """A certificate for each agent, by the authority, and its row in the database."""
        authority, where = folder.authority(), self.folder / "agents"
        where.mkdir()
        (where / "ca.pem").write_bytes(folder.ca_cert.read_bytes())
        issued = []
        with psycopg.connect(self.url) as conn:
            probes = dict(conn.execute("SELECT code, id FROM probe_locations").fetchall())
            for number in range(self.agents):
                key = pki.new_key()
                certificate = authority.agent(key.public_key(), code(number), dt.timedelta(days=30))
                (where / f"{code(number)}.key").write_bytes(pki.key_pem(key))
                (where / f"{code(number)}.pem").write_bytes(pki.pem(certificate))
                issued.append(
                    {
                        "serial": pki.serial_of(certificate), "probe": probes[code(number)],
                        "not_before": certificate.not_valid_before_utc,
                        "not_after": certificate.not_valid_after_utc, "token": None, "replaces": None,
                        "ca_sha256": authority.sha256,
                    }
                )  # fmt: skip
            with conn.cursor() as cursor:
                cursor.executemany(query("identity_issued"), issued)

    def serve(self) -> None:
        """Starts the collector; returns when it serves."""
        before = self.program.tail(10**9).count('"serving"')
        self.program.start()
        eventually(lambda: self.program.tail(10**9).count('"serving"') > before, 60, self.program.tail)
        assert self.program.process is not None
        self.process = Process(self.program.process.pid)

    def launch(self) -> None:
        """Starts all agents."""
        share, script = -(-self.agents // LOADS), ROOT / "benchmarks" / "collector_10k_agents.py"
        for first in range(0, self.agents, share):
            argv = [
                f"127.0.0.1:{self.ports[0]}",
                str(self.folder / "agents"),
                str(first),
                str(min(share, self.agents - first)),
                str(STOOD_S),
            ]
            with (self.folder / "load.log").open("ab") as log:
                self.loads.append(
                    subprocess.Popen(
                        [sys.executable, str(script), *argv],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        stderr=log,
                        text=True,
                    )
                )

    def tell(self, command: str) -> None:
        """Says a command to every load."""
        for load in self.loads:
            assert load.stdin is not None
            load.stdin.write(command + "\n")
            load.stdin.flush()

    def since(self) -> Happened:
        """From now on."""
        self.lines = self.program.log.read_bytes().count(b"\n") if self.program.log.exists() else 0
        return Happened(time.monotonic(), self.process.cpu_s() if self.program.running else 0.0)

    def look(self, happened: Happened) -> None:
        """Adds what happened since the last look."""
        self.tell("report")
        standing: Counter[str] = Counter()
        for load in self.loads:
            assert load.stdout is not None
            told = json.loads(load.stdout.readline())
            for name in ("assigned", "greeted", "ack_ms"):
                getattr(happened, name).extend(told[name])
            happened.ended.update(told["ended"])
            standing.update({name: told[name] for name in ("watching", "streaming", "made", "acked")})
        for name in ("watching", "streaming", "made", "acked"):
            setattr(happened, name, standing[name])
        happened.rss_mb = max(happened.rss_mb, self.process.rss_mb())
        self.peak_mb = max(self.peak_mb, self.process.peak_mb)
        happened.cpu_s = self.process.cpu_s() - happened.cpu_began_s
        happened.lines = self.program.log.read_bytes().count(b"\n") - self.lines

    def all_back(self, what: str, happened: Happened) -> Happened:
        """Returns when every agent's two calls stand."""
        while True:
            self.look(happened)
            if (
                happened.watching == happened.streaming == self.agents
                and len(happened.assigned) >= self.agents
            ):
                break
            if time.monotonic() - happened.began > BACK_WITHIN_S:
                raise AssertionError(
                    f"{what}: {happened.watching}, {happened.streaming}; {happened.ended}\n"
                    f"{self.program.tail()}"
                )
            time.sleep(0.5)
        print(f"{what}: {happened.told(self.agents)}", file=sys.stderr, flush=True)
        return happened

    def steady(self, seconds: float) -> Happened:
        """What a time without trouble is like."""
        happened, until = self.since(), time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(1)
            self.look(happened)
        return happened

    def ended(self, end: Callable[[], object]) -> Happened:
        """Ends the collector and starts it again."""
        happened = self.since()
        end()
        self.serve()
        happened.cpu_began_s = 0.0
        return happened

    def answers(self) -> None:
        """Notes what it takes to look at a fleet of this size."""
        for name in ("agents", "status"):
            self.timed(name, lambda name=name: self.command(name))
        for path in ("/metrics", "/v1/agents", "/metrics/targets"):
            self.timed(path, lambda path=path: self.asked(path))

    def asked(self, path: str) -> bytes:
        """What the HTTP port answers."""
        argv = ["curl", "-s", "-m", "30", f"http://127.0.0.1:{self.ports[2]}{path}"]
        return subprocess.run(argv, check=True, capture_output=True).stdout

    def rows_once(self) -> int:
        """Waits until all is acked; gives how many results are in the table, each once and none missing."""
        self.tell("rest")
        happened = self.since()
        while not happened.made or happened.made != happened.acked:
            time.sleep(1)
            self.look(happened)
            assert time.monotonic() - happened.began < BACK_WITHIN_S, happened
        with psycopg.connect(self.url) as conn:
            found = conn.execute(
                "SELECT count(*), count(DISTINCT (stream_id, seq)), count(DISTINCT stream_id),"
                " (SELECT sum(acked_seq) FROM sonde.streams) FROM performance_logs"
            ).fetchone()
        assert found == (happened.made, happened.made, self.agents, happened.made), (found, happened.made)
        return happened.made
