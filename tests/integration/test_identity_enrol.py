"""Enrolment with real programs: what a token opens, what it does not, and what each side is told."""

import json
import re
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest
from support.books import events, without_traceback
from support.edges import Authority, Edge
from support.identity import Enrolled, House
from support.postgres import Server
from support.programs import eventually, free_port, run

from sonde_collector.pki import authority as pki
from sonde_proto.enrolment import Token

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def house(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A collector where agents can enrol."""
    with House(tmp_path_factory.mktemp("house"), postgres_server) as house:
        yield house


def _enrol(agent: Enrolled, port: int, token: str, *more: str) -> tuple[int, str]:
    done = run(
        "sonde-agent", "enroll", "--config", str(agent.config), "--collector", f"127.0.0.1:{port}",
        "--token", token, *more,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout + done.stderr


def _refused(house: House, agent: Enrolled, token: str) -> str:
    """What both sides say: one line here, the same reason in the collector's log."""
    before = len(events(house.collectors[0].program, "not_enrolled"))
    code, said = _enrol(agent, house.collectors[0].enroll, token)
    assert code == 1
    (line,) = said.splitlines()
    told = events(house.collectors[0].program, "not_enrolled")[before:]
    assert [event["reason"] in line for event in told] == [True]
    assert not agent.file("key.pem").exists()
    return line


def test_an_enrolled_agent_delivers(house: House) -> None:
    """Token, key, certificate, [tls], run: results arrive; the key is its owner's alone, and not in a log."""
    agent = house.enrolled("ams1")
    assert stat.S_IMODE(agent.file("key.pem").stat().st_mode) == 0o600
    assert pki.common_name(agent.certificate()) == "ams1"
    assert "[tls]" in agent.config.read_text()
    agent.program.start()
    house.delivers(agent)
    listed = house.collectors[0].command("agents")
    (line,) = (line for line in listed.splitlines() if line.startswith("ams1"))
    assert re.search("ends in (29|30) d", line)
    doctor = run("sonde-agent", "doctor", "--config", str(agent.config)).stdout
    for name in ("certificate", "TLS", "renewal"):
        assert any(line.startswith("ok ") and f" {name} " in line for line in doctor.splitlines()), doctor
    assert agent.program.stop() == 0
    key = agent.file("key.pem").read_text().splitlines()[1]
    assert not any(key in log.read_text() for log in (agent.program.log, house.collectors[0].program.log))
    without_traceback([agent.program, house.collectors[0].program])


def test_a_token_is_good_once(house: House) -> None:
    """The second use is refused with the time of the first; the first identity stays."""
    agent, token = house.agent("nyc1"), house.collectors[0].token("nyc1")
    code, said = _enrol(agent, house.collectors[0].enroll, token)
    assert code == 0, said
    serial = agent.certificate().serial_number
    code, said = _enrol(agent, house.collectors[0].enroll, token)
    assert code == 1
    assert "was used up at" in said
    assert "agents token nyc1" in said
    assert agent.certificate().serial_number == serial
    assert "was used up at" in events(house.collectors[0].program, "not_enrolled")[-1]["reason"]


def test_two_at_once_enrol_one(house: House) -> None:
    """Of two hosts that use one token in the same moment, one gets a certificate."""
    token = Token.read(house.collectors[0].token("nyc1"))
    agents = [house.agent("nyc1") for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(
            pool.map(lambda agent: _enrol(agent, house.collectors[0].enroll, token.write())[0], agents)
        )
    assert sorted(answers) == [0, 1, 1, 1]


def test_an_expired_void_or_foreign_token_is_refused(house: House) -> None:
    """Each says which it is, on both sides, and leaves no key behind."""
    collector = house.collectors[0]
    short = collector.token("ams1", "--for", "1s")
    eventually(
        lambda: house.rows("SELECT bool_or(expires_at < now()) FROM sonde.enrolment_tokens")[0][0],
        10,
        "ends",
    )
    assert "has ended at" in _refused(house, house.agent("ams1"), short)
    old, _ = collector.token("ams1"), collector.token("ams1")
    assert "is void since" in _refused(house, house.agent("ams1"), old)
    stranger = Token.new("ams1", house.authority.sha256).write()
    assert "was not made for this collector" in _refused(house, house.agent("ams1"), stranger)


def test_a_token_of_another_vantage_is_not_even_sent(house: House) -> None:
    """agent.toml and token must be of one vantage; a changed token is told as such."""
    agent, token = house.agent("nyc1"), house.collectors[0].token("ams1")
    before = house.collectors[0].program.log.stat().st_size
    code, said = _enrol(agent, house.collectors[0].enroll, token)
    assert (code, len(said.splitlines())) == (1, 1)
    assert 'for vantage "ams1"' in said
    assert "nothing was sent" in said
    code, said = _enrol(agent, house.collectors[0].enroll, token[:-1])
    assert (code, "cut or mistyped" in said) == (2, True)
    assert house.collectors[0].program.log.stat().st_size == before


def test_nothing_is_sent_to_who_shows_another_authority(house: House, tmp_path: Path) -> None:
    """A server with another authority's certificate for our name gets a handshake, and not a byte more."""
    stranger, got = Authority(tmp_path / "stranger", "Stranger CA"), []

    def listen(connection: object) -> None:
        while data := connection.recv(4096):  # type: ignore[attr-defined]
            got.append(data)

    with Edge(listen, stranger.server("127.0.0.1")) as edge:
        agent = house.agent("ams1")
        code, said = _enrol(agent, edge.port, house.collectors[0].token("ams1"))
    assert (code, len(said.splitlines())) == (1, 1)
    assert "does not show the authority that the token names" in said
    assert "nothing was sent" in said
    assert got == []
    assert not agent.file("key.pem").exists()


def test_who_shows_our_authority_without_being_signed_by_it_gets_nothing(
    house: House, tmp_path: Path
) -> None:
    """The authority's certificate is public: showing it proves nothing, and the call behind it fails."""
    stranger, got = Authority(tmp_path / "stranger", "Stranger CA"), []
    context = stranger.server("127.0.0.1")
    cert, key = stranger.leaf("127.0.0.1")
    chain = tmp_path / "chain.pem"
    chain.write_bytes(cert.read_bytes() + house.pki.ca_cert.read_bytes())
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols(["h2"])

    def listen(connection: object) -> None:
        while data := connection.recv(4096):  # type: ignore[attr-defined]
            got.append(data)

    with Edge(listen, context) as edge:
        code, said = _enrol(house.agent("ams1"), edge.port, house.collectors[0].token("ams1"))
    assert (code, len(said.splitlines())) == (1, 1)
    assert "not signed by the authority that it shows" in said
    assert got == []


def test_plain_text_and_nobody_are_told(house: House) -> None:
    """A port without TLS, and one where nobody listens."""
    agent, token = house.agent("ams1"), house.collectors[0].token("ams1")
    with Edge(lambda connection: connection.sendall(b"hello, I speak no TLS\n")) as edge:
        code, said = _enrol(agent, edge.port, token)
    assert (code, len(said.splitlines())) == (1, 1)
    assert "speaks no TLS" in said
    code, said = _enrol(agent, free_port(), token)
    assert (code, len(said.splitlines())) == (1, 1)
    assert "refused" in said.lower()


def test_tokens_go_by_file_and_answers_to_programs(house: House, tmp_path: Path) -> None:
    """`--token-file`, `--json`, and a second enrolment beside a [tls] that is there: not added twice."""
    agent, collector = house.agent("nyc1"), house.collectors[0]
    made = json.loads(collector.command("agents", "token", "nyc1", "--json"))
    shown = json.loads(collector.command("pki", "show", "--dir", str(house.pki.path), "--json"))
    assert made["ca_sha256"] == shown["ca_sha256"]
    file = tmp_path / "token"
    file.write_text(made["token"] + "\n")
    enrol = (
        "sonde-agent", "enroll", "--config", str(agent.config), "--write",
        "--collector", f"127.0.0.1:{collector.enroll}", "--token-file", str(file),
    )  # fmt: skip
    done = run(*enrol, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["vantage"], answer["config"]) == ("nyc1", str(agent.config))
    assert Path(answer["key"]) == agent.file("key.pem").absolute()
    written = agent.config.read_text()
    file.write_text(collector.token("nyc1"))
    done = run(*enrol)
    assert done.returncode == 0, done.stderr
    assert "has its lines already" in done.stdout
    assert agent.config.read_text() == written
    assert written.count("[tls]") == 1


def test_the_database_knows_no_token(house: House) -> None:
    """What is kept of a token is its digest."""
    token = Token.read(house.collectors[0].token("ams1"))
    held = house.rows("SELECT hash FROM sonde.enrolment_tokens ORDER BY id DESC LIMIT 1")[0][0]
    assert bytes(held) == token.digest
    everything = house.rows("SELECT t::text FROM sonde.enrolment_tokens t")
    for secret in (token.secret.hex(), token.write().split(".")[3], sha256(token.secret).hexdigest()):
        assert not any(secret in row for (row,) in everything)


def test_mistakes_of_operators_are_one_line(house: House, tmp_path: Path) -> None:
    """An unknown vantage, no authority, half an authority: what is wrong and what to do."""
    collector = house.collectors[0]
    done = run("sonde-collector", "--config", str(collector.config), "agents", "token", "nowhere")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "not in the inventory" in done.stderr
    for argv in (("revoke", "nowhere", "--reason", "x"), ("unrevoke", "nowhere")):
        done = run("sonde-collector", "--config", str(collector.config), "agents", *argv)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    text = collector.config.read_text()
    for wrong, said in (
        (text.replace("ca_key", "# ca_key"), "enroll.ca_key: is required"),
        (text.replace("\nclient_ca", "\n# client_ca"), "grpc.client_ca: is required"),
        (text.replace(f'lifetime = "{house.lifetime}"', 'lifetime = "1s"'), "enroll.lifetime: must be"),
    ):
        config = tmp_path / "collector.toml"
        config.write_text(wrong)
        done = run("sonde-collector", "serve", "--config", str(config))
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    other = Authority(tmp_path / "other")
    cert, key = other.leaf("127.0.0.1")
    text = text.replace(str(house.pki.cert), str(cert)).replace(str(house.pki.key), str(key))
    for port in (collector.grpc, collector.enroll, collector.http):
        text = text.replace(f":{port}", f":{free_port()}")
    config.write_text(text)
    done = run("sonde-collector", "serve", "--config", str(config))
    assert done.returncode == 1
    assert "ca_cert did not sign" in done.stderr.splitlines()[-1]
