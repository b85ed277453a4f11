"""Whatever is wrong with an identity: one clear message, and the agent measures and keeps."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.books import events, without_traceback
from support.edges import Authority
from support.fake_clock import FakeClock, needs_faketime
from support.identity import Enrolled, House, replace_certificate, waiting
from support.postgres import Server
from support.programs import eventually, run

from sonde_collector.pki import authority as pki

pytestmark = pytest.mark.postgres
WAIT_S = 60.0
YEAR_S = 370 * 86_400


@pytest.fixture
def house(postgres_server: Server, tmp_path: Path) -> Iterator[House]:
    """A collector where agents can enrol, that notices silence soon."""
    watch = '[watch]\nagent_silent = "5s"\ndisk_free = 0.0\ndisk_days = 0\n'
    with House(tmp_path / "house", postgres_server, more=watch) as house:
        yield house


def _at_work(house: House) -> Enrolled:
    """An agent that has delivered, and so has an assignment; it is stopped now."""
    agent = house.enrolled("ams1")
    agent.program.start()
    house.delivers(agent)
    agent.program.kill()
    return agent


def _keeps(agent: Enrolled) -> None:
    """It runs, and what it measures waits."""
    had = waiting(agent)
    eventually(lambda: waiting(agent) > had + 10, WAIT_S, agent.program.tail)
    assert agent.program.running


def _doctor(agent: Enrolled) -> dict[str, tuple[str, str]]:
    """State and words of each finding, by name."""
    done = run("sonde-agent", "doctor", "--config", str(agent.config), "--json", env=agent.program.env)
    return {one["name"]: (one["state"], f"{one['detail']} {one['mend']}") for one in json.loads(done.stdout)}


def _one_message(agent: Enrolled, word: str, within_s: float = WAIT_S) -> str:
    """What it tells under that word: the same thing once."""
    eventually(lambda: agent.errors(word), within_s, agent.program.tail)
    said = agent.errors(word)
    assert len(said) == len(set(said)), "told once"
    return said[0]


def test_an_ended_certificate_of_a_person(house: House) -> None:
    """Without `tls.enroll` nobody renews it: handshake, doctor and the list of agents say so."""
    agent = _at_work(house)
    replace_certificate(agent, house.authority, dt.timedelta(days=-1))
    text = agent.config.read_text()
    agent.config.write_text("\n".join(line for line in text.splitlines() if not line.startswith("enroll")))
    agent.program.start()
    assert "that tls.cert has not ended" in _one_message(agent, "uplink_interrupted")
    _keeps(agent)
    found = _doctor(agent)
    assert found["certificate"][0] == "lacking"
    assert "ended 1 days ago" in found["certificate"][1]
    assert "it does not accept ours" in found["TLS"][1]
    assert agent.program.stop() == 0
    without_traceback([agent.program, house.collectors[0].program])


def test_a_certificate_of_another_authority(house: House) -> None:
    """The collector can't say why in a handshake; the renewal that follows does, on both sides."""
    agent, collector = _at_work(house), house.collectors[0]
    stranger = pki.new_authority(pki.new_key(), "stranger")
    replace_certificate(agent, stranger, dt.timedelta(days=20))
    agent.program.start()
    assert "grpc.client_ca signed tls.cert" in _one_message(agent, "uplink_interrupted")
    said = _one_message(agent, "certificate_not_renewed")
    assert "is of an authority that this collector does not accept" in said
    (told, *_) = events(collector.program, "not_renewed")
    assert told["vantage"] == "ams1"
    assert told["reason"] in said
    _keeps(agent)
    found = _doctor(agent)
    assert found["TLS"][0] == found["renewal"][0] == "lacking"
    assert "it does not accept ours" in found["TLS"][1]
    done = run(
        "sonde-agent", "enroll", "--config", str(agent.config),
        "--collector", f"127.0.0.1:{collector.enroll}", "--token", collector.token("ams1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    house.delivers(agent, WAIT_S)
    assert agent.program.stop() == 0
    without_traceback([agent.program, collector.program])


def test_a_collector_of_another_authority(house: House, tmp_path: Path) -> None:
    """An agent that trusts somebody else sends nothing; its log and doctor name tls.ca."""
    agent = _at_work(house)
    before = house.connections(agent)
    agent.file("ca.pem").write_bytes(Authority(tmp_path / "wrong", "Wrong CA").file.read_bytes())
    agent.program.start()
    assert "check that tls.ca signed it" in _one_message(agent, "uplink_interrupted")
    said = _one_message(agent, "certificate_not_renewed")
    assert "does not show the authority that tls.ca names" in said
    assert "nothing was sent" in said
    _keeps(agent)
    found = _doctor(agent)
    assert "we do not accept its certificate" in found["TLS"][1]
    assert house.connections(agent) == before
    assert agent.program.stop() == 0
    without_traceback([agent.program, house.collectors[0].program])


@needs_faketime
@pytest.mark.parametrize("years", [-1, 2])
def test_a_clock_far_off(house: House, tmp_path: Path, years: int) -> None:
    """The agent says which times don't fit, and to set the clock; the collector that it is silent."""
    agent, clock = _at_work(house), FakeClock(tmp_path / "clock")
    agent.program.env |= clock.env
    clock.step(years * YEAR_S)
    agent.program.start()
    assert "that this host's clock is right" in _one_message(agent, "uplink_interrupted")
    assert "set the clock" in _one_message(agent, "certificate_not_renewed")
    _keeps(agent)
    found = _doctor(agent)
    assert found["TLS"][0] == "lacking"
    assert "set the clock" in found["TLS"][1]
    eventually(
        lambda: house.rows("SELECT FROM sonde.events WHERE topic = 'agent_silent/ams1'"),
        WAIT_S,
        house.collectors[0].program.tail,
    )
    clock.step(-years * YEAR_S)
    house.delivers(agent, WAIT_S)
    assert agent.program.stop() == 0
    without_traceback([agent.program, house.collectors[0].program])


@needs_faketime
def test_a_clock_ahead_within_the_collectors_certificate(house: House, tmp_path: Path) -> None:
    """300 days ahead TLS still works: the collector tells of the clock, and no storm of renewals begins."""
    agent, clock = house.enrolled("ams1"), FakeClock(tmp_path / "clock")
    clock.step(300 * 86_400)
    agent.program.env |= clock.env
    agent.program.start()
    said = _one_message(agent, "certificate_not_renewed")
    assert "set the clock" in said
    eventually(
        lambda: house.rows("SELECT FROM sonde.events WHERE topic = 'agent_clock/ams1'"),
        WAIT_S,
        house.collectors[0].program.tail,
    )
    assert len(events(house.collectors[0].program, "agent_renewed")) <= 2
    (line,) = (line for line in house.collectors[0].command("agents").splitlines() if line.startswith("ams1"))
    assert "set the clock" in line
    assert agent.program.stop() == 0
    without_traceback([agent.program, house.collectors[0].program])
