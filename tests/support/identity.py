"""A collector with an authority of its own, made as an operator makes it, and agents that enrol at it."""

import datetime as dt
import json
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.books import events
from support.fleet import fleet_toml
from support.postgres import Server
from support.programs import Program, eventually, free_port, run

from sonde_collector.pki.authority import Authority
from sonde_collector.pki.folder import Folder

WITHIN_S = 30.0


@dataclass
class Collector:
    """One collector: its folder, ports and process."""

    folder: Path
    grpc: int
    enroll: int
    http: int
    program: Program

    @property
    def config(self) -> Path:
        """Its collector.toml."""
        return self.folder / "collector.toml"

    def command(self, *argv: str) -> str:
        """Runs one of its commands, which must succeed; what it wrote."""
        done = run("sonde-collector", "--config", str(self.config), *argv)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def token(self, vantage: str, *more: str) -> str:
        """A token for a vantage."""
        return self.command("agents", "token", vantage, *more).strip()


@dataclass
class Enrolled:
    """One agent: its folder and its process, not started."""

    folder: Path
    vantage: str
    program: Program

    @property
    def config(self) -> Path:
        """Its agent.toml."""
        return self.folder / "agent.toml"

    @property
    def spool(self) -> Path:
        """Its spool."""
        return self.folder / "state" / "spool.sqlite"

    def file(self, name: str) -> Path:
        """One of the files of its identity."""
        return self.folder / "state" / "identity" / name

    def certificate(self) -> x509.Certificate:
        """The certificate that is in use."""
        return x509.load_pem_x509_certificate(self.file("cert.pem").read_bytes())

    def errors(self, word: str = "uplink_interrupted") -> list[str]:
        """What it told under that event word."""
        return [str(event["error"]) for event in events(self.program, word)]


@dataclass
class House:
    """A database, an authority, collectors and agents. `with House(...) as house:` ends every process."""

    folder: Path
    server: Server
    lifetime: str = "30d"
    more: str = ""
    """Further lines of collector.toml."""
    connection_age: str = ""
    """Where collectors end connections at an age."""
    collectors: list[Collector] = field(default_factory=list)
    agents: list[Enrolled] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Makes authority and database, and starts one collector."""
        self.database = f"identity_{secrets.token_hex(4)}"
        self.server.create(self.database, "sonde_template")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.pki = Folder(self.folder / "pki")
        done = run(
            "sonde-collector", "pki", "init", "--dir", str(self.pki.path),
            "--name", "localhost", "--address", "127.0.0.1",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        try:
            self.add_collector()
            (self.folder / "fleet.toml").write_text(fleet_toml())
            self.collectors[0].command("apply", str(self.folder / "fleet.toml"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all of it."""
        for agent in self.agents:
            agent.program.kill()
        for collector in self.collectors:
            collector.program.kill()
        self.server.drop(self.database)

    @property
    def url(self) -> str:
        """Of the database."""
        return self.server.url(self.database)

    @property
    def authority(self) -> Authority:
        """The authority, to sign what no collector would."""
        return self.pki.authority()

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What the database answers."""
        with psycopg.connect(self.url) as conn:
            return conn.execute(statement, values).fetchall()

    def add_collector(self) -> Collector:
        """One more collector, serving."""
        folder = self.folder / f"collector{len(self.collectors)}"
        folder.mkdir()
        ports = [free_port() for _ in range(3)]
        pki = self.pki
        ageing = f'connection_age = "{self.connection_age}"\n' if self.connection_age else ""
        (folder / "collector.toml").write_text(
            f'state_dir = "state"\n[database]\nurl = "{self.url}"\n'
            f'[grpc]\nlisten = ["127.0.0.1:{ports[0]}"]\n'
            f'tls_cert = "{pki.cert}"\ntls_key = "{pki.key}"\nclient_ca = "{pki.ca_cert}"\n'
            f"{ageing}"
            f'[enroll]\nlisten = "127.0.0.1:{ports[1]}"\nca_cert = "{pki.ca_cert}"\nca_key = "{pki.ca_key}"\n'
            f'lifetime = "{self.lifetime}"\n'
            f'[http]\nlisten = "127.0.0.1:{ports[2]}"\ntls_cert = "{pki.cert}"\ntls_key = "{pki.key}"\n'
            f"{self.more}"
        )
        program = Program(
            "sonde-collector", "serve", "--config", str(folder / "collector.toml"), log=folder / "log"
        )
        collector = Collector(folder, *ports, program)
        self.collectors.append(collector)
        self.start(collector)
        return collector

    def start(self, collector: Collector) -> None:
        """Starts a collector and waits until it serves."""
        before = len(events(collector.program, "serving"))
        collector.program.start()
        eventually(
            lambda: len(events(collector.program, "serving")) > before, WITHIN_S, collector.program.tail
        )

    def agent(self, vantage: str, collector: Collector | None = None) -> Enrolled:
        """An agent's folder with its agent.toml; not enrolled, not started."""
        folder = self.folder / f"agent{len(self.agents)}-{vantage}"
        (folder / "state").mkdir(parents=True)
        port = (collector or self.collectors[0]).grpc
        (folder / "agent.toml").write_text(
            f'collector = "127.0.0.1:{port}"\nvantage = "{vantage}"\nstate_dir = "state"\nmetrics = ""\n'
            '[policy]\nallow = ["127.0.0.0/8"]\n'
        )
        program = Program("sonde-agent", "run", "--config", str(folder / "agent.toml"), log=folder / "log")
        agent = Enrolled(folder, vantage, program)
        self.agents.append(agent)
        return agent

    def enrolled(self, vantage: str, collector: Collector | None = None) -> Enrolled:
        """The same, enrolled by a token; not started."""
        collector = collector or self.collectors[0]
        agent = self.agent(vantage, collector)
        done = run(
            "sonde-agent", "enroll", "--config", str(agent.config), "--write",
            "--collector", f"127.0.0.1:{collector.enroll}", "--token", collector.token(vantage),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return agent

    def delivers(self, agent: Enrolled, within_s: float = WITHIN_S) -> None:
        """Waits until something that is measured from now on is committed."""
        (before,) = self._committed(agent)
        eventually(lambda: self._committed(agent)[0] > before + 10, within_s, agent.program.tail)

    def connections(self, agent: Enrolled) -> int:
        """How often its streams were taken: each connection counts one up."""
        found = self.rows(
            "SELECT coalesce(sum(s.session), 0) FROM sonde.streams s"
            " JOIN probe_locations p ON p.id = s.probe_id WHERE p.code = %s",
            agent.vantage,
        )
        return int(found[0][0])

    def _committed(self, agent: Enrolled) -> tuple[int]:
        found = self.rows(
            "SELECT coalesce(max(s.acked_seq), 0) FROM sonde.streams s"
            " JOIN probe_locations p ON p.id = s.probe_id WHERE p.code = %s",
            agent.vantage,
        )
        return (int(found[0][0]),)


def replace_certificate(agent: Enrolled, authority: Authority, ends_in: dt.timedelta) -> None:
    """Gives an agent another certificate for the key that it has, by that authority, which ends then."""
    key = agent.certificate().public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    ends = dt.datetime.now(dt.UTC) + ends_in
    builder = x509.CertificateBuilder(
        authority.certificate.subject, agent.certificate().subject, key, x509.random_serial_number(),
        ends - dt.timedelta(days=200), ends,
    )  # fmt: skip
    signed = builder.sign(authority.key, hashes.SHA256())
    agent.file("cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def waiting(agent: Enrolled) -> int:
    """How many results wait in an agent's spool, as `sonde-agent spool` counts them."""
    done = run("sonde-agent", "spool", "--config", str(agent.config), "--json")
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["rows"])
