"""Renewal with real programs: by the agent itself, late, after an outage, and when it is refused."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.books import events, without_traceback
from support.identity import House, replace_certificate
from support.postgres import Server
from support.programs import eventually, run

from sonde_collector.pki import authority as pki

pytestmark = pytest.mark.postgres
WAIT_S = 60.0


@pytest.fixture
def house(postgres_server: Server, tmp_path: Path) -> Iterator[House]:
    """A collector whose certificates for agents hold for 15 seconds."""
    with House(tmp_path / "house", postgres_server, lifetime="15s") as house:
        yield house


def test_a_running_agent_renews_and_uses_what_it_got(house: House) -> None:
    """Over three lives: each certificate has a new key, is used without a restart, and no result is lost."""
    agent = house.enrolled("ams1")
    first = agent.certificate()
    agent.program.start()
    process = agent.program.process
    eventually(lambda: len(events(agent.program, "certificate_renewed")) >= 3, WAIT_S, agent.program.tail)
    house.delivers(agent)
    assert agent.program.process is process
    now = agent.certificate()
    assert now.public_key() != first.public_key()
    assert now.not_valid_after_utc > first.not_valid_after_utc + dt.timedelta(seconds=15)
    chain = house.rows("SELECT serial, replaces FROM sonde.certificates ORDER BY issued_at")
    assert [replaces for _, replaces in chain[1:]] == [serial for serial, _ in chain[:-1]]
    assert house.connections(agent) >= 4, "each new certificate was connected with"
    assert agent.errors() == [], "the uplink was never refused"
    assert len(list((agent.folder / "state").glob(".identity-*"))) == 1, "old keys are gone"
    assert agent.program.stop() == 0
    gaps = house.rows("SELECT count(*) FROM sonde.gaps")
    assert gaps == [(0,)]
    without_traceback([agent.program, house.collectors[0].program])


def test_an_agent_outlives_an_outage_longer_than_its_certificate(house: House) -> None:
    """The collector is away while the certificate ends: the agent measures on, renews late, and delivers."""
    agent, collector = house.enrolled("ams1"), house.collectors[0]
    agent.program.start()
    house.delivers(agent)
    collector.program.kill()
    ends = agent.certificate().not_valid_after_utc
    eventually(lambda: dt.datetime.now(dt.UTC) > ends + dt.timedelta(seconds=2), WAIT_S, "ends")
    eventually(
        lambda: any("refused" in one.lower() for one in agent.errors("certificate_not_renewed")),
        WAIT_S,
        agent.program.tail,
    )
    assert agent.program.running
    house.start(collector)
    house.delivers(agent, WAIT_S)
    assert agent.certificate().not_valid_after_utc > ends
    assert house.rows("SELECT count(*) FROM sonde.gaps") == [(0,)]
    assert agent.program.stop() == 0
    without_traceback([agent.program, collector.program])


@pytest.mark.parametrize(("days", "accepted"), [(80, True), (91, False)])
def test_an_agent_that_was_away_comes_back_within_90_days(house: House, days: int, *, accepted: bool) -> None:
    """80 days after its end a certificate is renewed by its key; after 91 both sides say: enrol again."""
    agent, collector = house.enrolled("ams1"), house.collectors[0]
    replace_certificate(agent, house.authority, dt.timedelta(days=-days))
    agent.program.start()
    if accepted:
        house.delivers(agent, WAIT_S)
        (renewed, *_) = events(collector.program, "agent_renewed")
        assert renewed["vantage"] == "ams1"
    else:
        eventually(lambda: agent.errors("certificate_not_renewed"), WAIT_S, agent.program.tail)
        (said, *_) = agent.errors("certificate_not_renewed")
        assert "ended 91 days ago, and can be renewed for 90" in said
        assert "agents token ams1" in said
        assert [event["reason"] in said for event in events(collector.program, "not_renewed")][:1] == [True]
        assert "ended 91 days ago" in run("sonde-agent", "doctor", "--config", str(agent.config)).stdout
    assert agent.program.stop() == 0


def test_only_the_certificates_own_key_renews_it(house: House) -> None:
    """A stolen certificate without its key, one of another authority, and another vantage's get nothing."""
    collector = house.collectors[0]
    agent, thief = house.enrolled("ams1"), house.enrolled("nyc1")
    thief.file("cert.pem").write_bytes(agent.file("cert.pem").read_bytes())
    done = run("sonde-agent", "renew", "--config", str(thief.config))
    assert (done.returncode, "own key" in done.stderr) == (1, True), done.stderr
    agent.config.write_text(agent.config.read_text().replace('vantage = "ams1"', 'vantage = "nyc1"'))
    done = run("sonde-agent", "renew", "--config", str(agent.config))
    assert (done.returncode, 'is for "ams1", not for vantage "nyc1"' in done.stderr) == (1, True), done.stderr
    agent.config.write_text(agent.config.read_text().replace('vantage = "nyc1"', 'vantage = "ams1"'))
    stranger = pki.new_authority(pki.new_key(), "stranger")
    replace_certificate(agent, stranger, dt.timedelta(days=10))
    done = run("sonde-agent", "renew", "--config", str(agent.config))
    assert (done.returncode, "does not accept" in done.stderr) == (1, True), done.stderr
    assert len(done.stderr.splitlines()) == 1
    key = pki.new_key()
    agent.file("cert.pem").write_bytes(pki.pem(house.authority.server(key, ["ams1"])))
    agent.file("key.pem").write_bytes(pki.key_pem(key))
    done = run("sonde-agent", "renew", "--config", str(agent.config))
    assert (done.returncode, "a server's, not an agent's" in done.stderr) == (1, True), done.stderr
    assert len(house.rows("SELECT FROM sonde.certificates")) == 2, "only what the tokens gave"
    assert len(events(collector.program, "not_renewed")) == 4


def test_asking_changes_nothing(house: House) -> None:
    """`renew --ask` says whether it would be renewed, and issues nothing."""
    agent = house.enrolled("ams1")
    before = agent.file("cert.pem").read_bytes()
    done = run("sonde-agent", "renew", "--ask", "--config", str(agent.config))
    assert done.returncode == 0, done.stderr
    assert agent.file("cert.pem").read_bytes() == before
    assert len(house.rows("SELECT FROM sonde.certificates")) == 1
