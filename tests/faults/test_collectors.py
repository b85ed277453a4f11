"""Two collectors on one database: assignments, stops and applies while agents work."""

import re
from pathlib import Path

import psycopg
import pytest
from support.books import balanced, current, events, rows
from support.builders import performance
from support.fleet import SERVERS, Agent, Fleet, fleet_toml
from support.programs import Program, eventually, run

from sonde_agent.spool import Spool

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

DAY_S = 86_400.0
GONE = f"s{SERVERS}"


def _changed(*, every: str = "1s", without: str = "") -> str:
    """The fleet's inventory with another rhythm of its pings, or without a server."""
    blocks = re.split(r"(?m)^(?=\[\[)", fleet_toml())
    kept = [block for block in blocks if f'key = "{without}"\n' not in block]
    return "".join(
        block.replace('every = "1s"', f'every = "{every}"') if 'key = "pings"' in block else block
        for block in kept
    )


def _apply(fleet: Fleet, text: str) -> Path:
    file = fleet.directory / "changed.toml"
    file.write_text(text)
    done = run(
        "sonde-collector",
        "apply",
        str(file),
        "--config",
        str(fleet.directory / "collector0" / "collector.toml"),
    )
    assert done.returncode == 0, done.stderr
    return file


def _two(fleet: Fleet) -> None:
    """A second collector, with the second agent on it."""
    second = fleet.add_collector()
    eventually(lambda: events(fleet.collectors[second], "serving"), 20, fleet.collectors[second].tail)
    fleet.agents[1].proxy.lead_to(fleet.ports[second])
    fleet.agents[1].proxy.cut()
    eventually(lambda: events(fleet.collectors[second], "agent_connected"), 30, fleet.agents[1].program.tail)


def test_a_change_reaches_the_agents_of_both_collectors(fleet: Fleet) -> None:
    """After one apply, agents on either collector run the new assignment within 10 s, nothing restarted."""
    _two(fleet)
    heard = [len(events(agent.program, "assignment")) for agent in fleet.agents]
    _apply(fleet, _changed(without=GONE))
    for agent, before in zip(fleet.agents, heard, strict=True):
        eventually(lambda a=agent, n=before: len(events(a.program, "assignment")) > n, 10, agent.program.tail)
        newest = events(agent.program, "assignment")[-1]
        assert newest["tasks"] == events(agent.program, "assignment")[0]["tasks"] - 1
    balanced(fleet)


def test_results_of_a_server_that_was_removed_still_land(fleet: Fleet) -> None:
    """A server leaves the inventory while results about it wait: it is deactivated, and nothing is lost."""
    fleet.collectors[0].kill()
    marks = {agent.code: current(agent).highest for agent in fleet.agents}
    for agent in fleet.agents:
        eventually(lambda a=agent: current(a).highest > marks[a.code] + 3 * SERVERS, 30, agent.program.tail)
    _apply(fleet, _changed(without=GONE))
    query = (
        "SELECT s.is_active FROM servers s JOIN sonde.server_keys k ON k.server_id = s.id WHERE k.key = %s"
    )
    assert rows(fleet, query, GONE) == [(False,)]
    spooled = (
        "SELECT count(*) FROM performance_logs l JOIN sonde.server_keys k USING (server_id) "
        "JOIN sonde.streams s ON s.id = l.stream_id JOIN probe_locations p ON p.id = s.probe_id "
        "WHERE k.key = %s AND p.code = %s AND l.seq > %s"
    )
    fleet.collectors[0].start()
    fleet.drain()
    for agent in fleet.agents:
        assert rows(fleet, spooled, GONE, agent.code, marks[agent.code])[0][0] >= 2
    balanced(fleet)


def test_two_applies_at_once_are_one_after_the_other(fleet: Fleet) -> None:
    """Two different files applied at the same moment both succeed, and the database is wholly one of them."""
    config = str(fleet.directory / "collector0" / "collector.toml")
    files = {every: fleet.directory / f"every{every}.toml" for every in ("3s", "4s")}
    for every, file in files.items():
        file.write_text(_changed(every=every, without=GONE if every == "3s" else ""))
    for _ in range(2):
        applies = [
            Program(
                "sonde-collector",
                "apply",
                str(file),
                "--config",
                config,
                log=fleet.directory / f"apply{every}.log",
            )
            for every, file in files.items()
        ]
        for each in applies:
            each.start()
        for each in applies:
            assert each.process is not None
            assert each.process.wait(30) == 0, each.tail()
        ((every,),) = rows(fleet, "SELECT spec->>'every' FROM sonde.plans WHERE key = 'pings'")
        won = "3s" if str(every).startswith("3") else "4s"
        again = run("sonde-collector", "apply", "--dry-run", "--json", str(files[won]), "--config", config)
        assert '"changes": []' in again.stdout, again.stdout


def told_of_the_stop(agent: Agent) -> bool:
    """Whether an agent heard why its stream ended."""
    return any(
        "the collector is stopping" in event["error"] for event in events(agent.program, "uplink_interrupted")
    )


def test_a_collector_stopped_under_load_acks_what_is_committed_and_nothing_else(fleet: Fleet) -> None:
    """SIGTERM amid thousands of results: exit 0, every commit is acked, agents go on at the other one."""
    for agent in fleet.agents:
        agent.program.stop()
        spool = Spool.open(agent.spool, max_bytes=64 << 20, max_age_s=14 * DAY_S, history_s=2 * DAY_S)
        for _ in range(40):
            spool.append([performance() for _ in range(1000)])
        spool.close()
    second = fleet.add_collector()
    marks = [current(agent).acked for agent in fleet.agents]
    for agent in fleet.agents:
        agent.program.start()
    for agent, before in zip(fleet.agents, marks, strict=True):
        eventually(lambda a=agent, n=before: current(a).acked > n + 2000, 30, agent.program.tail)
    assert fleet.collectors[0].stop(within_s=15) == 0, fleet.collectors[0].tail()

    def committed() -> dict[bytes, int]:
        return dict(rows(fleet, "SELECT epoch, acked_seq FROM sonde.streams"))

    marks = []
    for agent in fleet.agents:
        stream = current(agent)
        assert stream.acked < stream.highest, "it was not stopped under load"
        eventually(lambda a=agent: current(a).acked == committed()[current(a).epoch], 10, agent.program.tail)
        eventually(lambda a=agent: told_of_the_stop(a), 10, agent.program.tail)
        marks.append(current(agent).acked)  # before it goes on: the rest may be there in a moment
        agent.proxy.lead_to(fleet.ports[second])
    for agent, before in zip(fleet.agents, marks, strict=True):
        eventually(lambda a=agent, n=before: current(a).acked > n + 1000, 20, agent.program.tail)
    fleet.collectors[0].start()
    balanced(fleet)


def test_a_renamed_database_is_the_same_one(fleet: Fleet) -> None:
    """The database gets another name while results wait: they land, and nothing is sent twice."""
    before = rows(fleet, "SELECT id FROM sonde.database")
    assert fleet.collectors[0].stop() == 0
    name = f"{fleet.database}_renamed"
    with psycopg.connect(fleet.server.url(), autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {fleet.database} RENAME TO {name}")
    try:
        fleet.use_database(name)
        fleet.collectors[0].start()
        balanced(fleet)
        assert rows(fleet, "SELECT id FROM sonde.database") == before
        assert rows(fleet, "SELECT coalesce(sum(trimmed), 0) FROM sonde.batches") == [(0,)]
    finally:
        for program in fleet.collectors:
            program.kill()
        fleet.server.drop(name)
