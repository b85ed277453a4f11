"""Agent and collector over TLS with certificates on both sides, started as operators start them."""

import secrets
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from support.books import events, without_traceback
from support.edges import Authority
from support.fleet import collector_toml, prepare_database
from support.postgres import Server
from support.programs import Program, eventually, free_port, run

pytestmark = pytest.mark.postgres


@dataclass
class House:
    """A collector that speaks TLS alone, and who signs for it."""

    folder: Path
    authority: Authority
    port: int
    url: str
    collector: Program

    def agent(self, folder: Path, vantage: str, tls: tuple[Path, Path, Path] | None) -> Program:
        """An agent, not started: `tls` is the CA it trusts, its certificate and its key."""
        config = folder / "agent.toml"
        text = (
            f'collector = "127.0.0.1:{self.port}"\nvantage = "{vantage}"\nstate_dir = "state"\nmetrics = ""\n'
        )
        text = text.replace('"state"', f'"{folder / "state"}"') + '[policy]\nallow = ["127.0.0.0/8"]\n'
        if tls is not None:
            text += '[tls]\nca = "{}"\ncert = "{}"\nkey = "{}"\n'.format(*tls)
        config.write_text(text)
        return Program("sonde-agent", "run", "--config", str(config), log=folder / "log")


@pytest.fixture(scope="module")
def house(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running collector with TLS, and a fleet's inventory."""
    folder = tmp_path_factory.mktemp("house")
    name = f"tls_{secrets.token_hex(4)}"
    prepare_database(postgres_server, name, folder / "inventory")
    authority = Authority(folder / "ca")
    cert, key = authority.leaf("127.0.0.1")
    port, config = free_port(), folder / "collector.toml"
    files = f'tls_cert = "{cert}"\ntls_key = "{key}"\nclient_ca = "{authority.file}"\n'
    text = collector_toml(postgres_server.url(name), port)
    config.write_text(text.replace("[http]", f"{files}[http]"))
    collector = Program("sonde-collector", "serve", "--config", str(config), log=folder / "log")
    collector.start()
    try:
        eventually(lambda: events(collector, "serving"), 30, collector.tail)
        yield House(folder, authority, port, postgres_server.url(name), collector)
    finally:
        collector.kill()
        postgres_server.drop(name)


@pytest.fixture
def started() -> Iterator[list[Program]]:
    """Programs that end with the test."""
    programs: list[Program] = []
    yield programs
    for program in programs:
        program.kill()


def _told(agent: Program) -> str:
    """What the agent says of its first connection that failed."""
    (first, *_) = eventually(lambda: events(agent, "uplink_interrupted"), 30, agent.tail)
    assert agent.running, agent.tail()
    return str(first["error"])


def test_an_agent_with_its_certificate_delivers(house: House, tmp_path: Path, started: list[Program]) -> None:
    """Assignment down and results up over mTLS; the stream in the database is the certificate's vantage."""
    agent = house.agent(tmp_path, "ams1", (house.authority.file, *house.authority.leaf("ams1")))
    started.append(agent)
    agent.start()

    def arrived() -> bool:
        with psycopg.connect(house.url) as conn:
            found = conn.execute(
                "SELECT count(*) FROM performance_logs l JOIN probe_locations p ON p.id = l.probe_id "
                "WHERE p.code = 'ams1'"
            ).fetchone()
        return found is not None and found[0] > 10

    eventually(arrived, 30, agent.tail)
    assert agent.stop(within_s=15) == 0
    without_traceback([agent, house.collector])


def test_anothers_certificate_is_refused_on_both_sides(
    house: House, tmp_path: Path, started: list[Program]
) -> None:
    """A certificate of nyc1 can't speak for ams1: both programs say so, with both names."""
    agent = house.agent(tmp_path, "ams1", (house.authority.file, *house.authority.leaf("nyc1")))
    started.append(agent)
    agent.start()
    told = _told(agent)
    assert told.startswith("PERMISSION_DENIED: ")
    assert "nyc1" in told
    assert "ams1" in told
    (control,) = eventually(lambda: events(agent, "control_interrupted"), 30, agent.tail)
    assert control["error"].startswith("PERMISSION_DENIED: ")
    (seen,) = [e for e in events(house.collector, "agent_refused") if e["status"] == "PERMISSION_DENIED"]
    assert "nyc1" in seen["reason"]
    without_traceback([agent, house.collector])


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("client of an unknown CA", "tls.cert"),
        ("client certificate expired", "tls.cert"),
        ("collector of an unknown CA", "tls.ca"),
        ("plain text", "[tls]"),
    ],
)
def test_a_failed_handshake_is_one_line_that_names_the_setting(
    house: House, tmp_path: Path, started: list[Program], case: str, said: str
) -> None:
    """Whatever fails before a word was said, the agent's log names what to look at, and it goes on."""
    stranger = Authority(tmp_path / "stranger", "Stranger CA")
    tls = {
        "client of an unknown CA": (house.authority.file, *stranger.leaf("ams1")),
        "client certificate expired": (house.authority.file, *house.authority.leaf("ams1", days=-1)),
        "collector of an unknown CA": (stranger.file, *house.authority.leaf("ams1")),
        "plain text": None,
    }[case]
    agent = house.agent(tmp_path, "ams1", tls)
    started.append(agent)
    agent.start()
    told = _told(agent)
    assert said in told
    without_traceback([agent, house.collector])


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused(house: House) -> None:
    """A client that knows TLS 1.1 at best gets no session; one with TLS 1.2 does."""
    cert, key = house.authority.leaf("ams1")

    def connect(version: ssl.TLSVersion) -> str | None:
        context = ssl.create_default_context(cafile=str(house.authority.file))
        context.load_cert_chain(cert, key)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.set_alpn_protocols(["h2"])
        context.minimum_version = context.maximum_version = version
        with (
            socket.create_connection(("127.0.0.1", house.port), 10) as sock,
            context.wrap_socket(sock, server_hostname="127.0.0.1") as session,
        ):
            return session.version()

    assert connect(ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(ssl.TLSVersion.TLSv1_1)


def test_plain_text_off_loopback_is_refused_at_start(tmp_path: Path) -> None:
    """Both programs end with 2 and one line that names the key and what to set, before they open anything."""
    config = tmp_path / "collector.toml"
    config.write_text(
        collector_toml("postgresql://postgres@127.0.0.1:1/x", 7443).replace("127.0.0.1:7443", "0.0.0.0:7443")
    )
    done = run("sonde-collector", "serve", "--config", str(config))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert 'grpc.listen[0]: "0.0.0.0:7443" can be reached from other hosts' in line
    config = tmp_path / "agent.toml"
    config.write_text(f'collector = "192.0.2.1:7443"\nvantage = "v"\nstate_dir = "{tmp_path / "state"}"\n')
    done = run("sonde-agent", "run", "--config", str(config))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "collector: 192.0.2.1:7443 is not on this machine" in line
    assert "add a [tls] table" in line
    assert not (tmp_path / "state").exists()
