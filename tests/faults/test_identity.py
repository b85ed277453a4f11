"""Who may speak for a stream: the newest connection of the one spool, and no copy of it."""

import json
import time

import pytest
from support.audit import read_spool
from support.books import Event, balanced, current, events, rows
from support.fleet import Agent, Fleet
from support.programs import eventually, run

pytestmark = [pytest.mark.faults, pytest.mark.postgres]


def _acks_more(agent: Agent, within_s: float) -> None:
    before = current(agent).acked
    eventually(lambda: current(agent).acked > before + 50, within_s, agent.program.tail)


def _spool(agent: Agent, *options: str) -> str:
    done = run("sonde-agent", "spool", "--config", str(agent.directory / "agent.toml"), *options)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_a_clone_of_a_live_spool_is_refused_until_it_goes_its_own_way(fleet: Fleet) -> None:
    """Both sides say once that it is a clone and what to do; the original is not disturbed."""
    original = fleet.agents[0]
    clone = fleet.add_agent(original.code, state_of=original)

    def refusals() -> list[Event]:
        return [e for e in events(clone.program, "uplink_interrupted") if "cloned spool" in e["error"]]

    (refused,) = eventually(refusals, 30, clone.program.tail)
    assert "sonde-agent spool --new-stream" in refused["error"]
    assert refused["action"] == "stop"
    (seen,) = [e for e in events(fleet.collectors[0], "agent_refused") if e["vantage"] == original.code]
    assert "cloned spool" in seen["reason"]
    shown = _spool(clone)
    assert "the collector refuses it: FAILED_PRECONDITION: cloned spool" in shown
    assert any(stream["refused"] for stream in json.loads(_spool(clone, "--json"))["streams"])

    _acks_more(original, 10)
    own = [e["error"] for e in events(original.program, "uplink_interrupted")]
    assert not own, "the original heard of it"
    assert current(clone).highest > 0, "a refused agent measures on"
    assert len(refusals()) == 1, "said once"

    assert clone.program.stop(within_s=15) == 0
    assert "refuses" not in _spool(clone, "--new-stream").partition("(current")[2]
    clone.program.start()
    _acks_more(clone, 30)
    epochs = {stream.epoch for stream in read_spool(original.spool)} & {
        s.epoch for s in read_spool(clone.spool)
    }
    assert not epochs, "the clone no longer speaks for the original's stream"
    balanced(fleet)


def test_a_half_open_connection_does_not_lock_its_agent_out(fleet: Fleet) -> None:
    """The collector does not notice that a host lost its power: the same spool goes on within seconds."""
    agent = fleet.agents[0]
    agent.proxy.half_open()
    agent.program.kill()
    before = current(agent).acked
    agent.program.start()
    started = time.monotonic()
    eventually(lambda: current(agent).acked > before + 50, 20, agent.program.tail)
    assert time.monotonic() - started < 10
    assert rows(fleet, "SELECT count(*) FROM sonde.streams WHERE session > 1")[0][0] >= 1
    (fenced,) = events(fleet.collectors[0], "agent_fenced")
    assert fenced["vantage"] == agent.code
    balanced(fleet)
