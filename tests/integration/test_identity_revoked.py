"""Revocation with real programs: open streams end on every collector, new ones are refused."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.books import events, without_traceback
from support.identity import House, waiting
from support.postgres import Server
from support.programs import eventually, run

pytestmark = pytest.mark.postgres
WAIT_S = 60.0
SECONDS = dt.timedelta(seconds=10)
"""Within which a revocation must have ended what was open."""


@pytest.fixture
def house(postgres_server: Server, tmp_path: Path) -> Iterator[House]:
    """Two collectors on one database."""
    with House(tmp_path / "house", postgres_server) as house:
        house.add_collector()
        yield house


def _rows_of(house: House, vantage: str) -> int:
    found = house.rows(
        "SELECT count(*) FROM performance_logs l JOIN probe_locations p ON p.id = l.probe_id"
        " WHERE p.code = %s",
        vantage,
    )
    return int(found[0][0])


def _listed(house: House, vantage: str) -> str:
    (line,) = (
        line for line in house.collectors[0].command("agents").splitlines() if line.startswith(vantage)
    )
    return line


def test_a_revocation_ends_open_streams_on_every_collector(house: House) -> None:
    """Revoked at one collector, the agent at the other is cut off within seconds; the rest is left alone."""
    first, second = house.collectors
    cut, other = house.enrolled("ams1", second), house.enrolled("nyc1", second)
    for agent in (cut, other):
        agent.program.start()
        house.delivers(agent)
    first.command("agents", "revoke", "ams1", "--reason", "host was stolen")
    eventually(lambda: cut.errors() and cut.errors("control_interrupted"), WAIT_S, cut.program.tail)
    for said in (*cut.errors(), *cut.errors("control_interrupted")):
        assert said.startswith("PERMISSION_DENIED: ")
        for words in ("were revoked at", "host was stolen", "agents token ams1"):
            assert words in said
    (told,) = events(second.program, "agent_cut_off")
    assert told["vantage"] == "ams1"
    assert "host was stolen" in told["reason"]
    (revoked_at,) = house.rows("SELECT revoked_at FROM sonde.revocations")[0]
    assert dt.datetime.fromisoformat(told["timestamp"]) - revoked_at < SECONDS

    before, had = _rows_of(house, "ams1"), waiting(cut)
    house.delivers(other)
    eventually(lambda: waiting(cut) > had, WAIT_S, "it measures and keeps")
    assert _rows_of(house, "ams1") == before, "nothing of a revoked vantage is taken"
    assert other.errors() == []
    assert "revoked: host was stolen" in _listed(house, "ams1")
    assert "host was stolen" in run("sonde-agent", "doctor", "--config", str(cut.config)).stdout
    told_of = house.rows("SELECT kind, subject, resolved FROM sonde.events WHERE kind = 'agent_revoked'")
    assert told_of == [("agent_revoked", "ams1", False)]
    for agent in (cut, other):
        assert agent.program.stop() == 0
    without_traceback([cut.program, other.program, first.program, second.program])


def test_a_new_token_shuts_the_thief_out(house: House) -> None:
    """After a revocation the host enrols anew while it runs, and goes on; a copy of its old self can't."""
    first, second = house.collectors
    agent, thief = house.enrolled("ams1", second), house.agent("ams1", second)
    agent.program.start()
    house.delivers(agent)
    stolen = thief.folder / "state" / "identity"
    stolen.mkdir()
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (stolen / name).write_bytes(agent.file(name).read_bytes())
    thief.config.write_text(agent.config.read_text().replace(str(agent.folder), str(thief.folder)))
    voided = first.token("ams1")
    first.command("agents", "revoke", "ams1", "--reason", "host was stolen")
    enrol = (
        "sonde-agent", "enroll", "--config", str(agent.config),
        "--collector", f"127.0.0.1:{second.enroll}", "--token",
    )  # fmt: skip
    refused = run(*enrol, voided)
    assert (refused.returncode, "is void since" in refused.stderr) == (1, True)
    done = run(*enrol, first.token("ams1"))
    assert done.returncode == 0, done.stderr
    house.delivers(agent, WAIT_S)
    thief.program.start()
    eventually(thief.errors, WAIT_S, thief.program.tail)
    assert "were revoked at" in thief.errors()[0]
    stale = run("sonde-agent", "renew", "--config", str(thief.config))
    assert (stale.returncode, "were revoked at" in stale.stderr) == (1, True)
    assert run("sonde-agent", "renew", "--config", str(agent.config)).returncode == 0
    assert "ends in" in _listed(house, "ams1")
    for one in (agent, thief):
        assert one.program.stop() == 0
    without_traceback([agent.program, thief.program, first.program, second.program])


def test_a_revocation_holds_over_restarts_and_can_be_taken_back(house: House) -> None:
    """A collector that starts later knows of it; `unrevoke` lets the same certificate in again."""
    first, second = house.collectors
    agent = house.enrolled("ams1", second)
    second.program.kill()
    first.command("agents", "revoke", "ams1", "--reason", "a mistake")
    house.start(second)
    agent.program.start()
    eventually(agent.errors, WAIT_S, agent.program.tail)
    assert "a mistake" in agent.errors()[0]
    assert house.connections(agent) == 0
    first.command("agents", "unrevoke", "ams1")
    house.delivers(agent, WAIT_S)
    again = run("sonde-collector", "--config", str(first.config), "agents", "unrevoke", "ams1")
    assert (again.returncode, "nothing of ams1 is revoked" in again.stderr) == (1, True)
    assert house.rows("SELECT resolved FROM sonde.events WHERE topic = 'agent_revoked/ams1' ORDER BY id") == [
        (False,),
        (True,),
    ]
    assert agent.program.stop() == 0
