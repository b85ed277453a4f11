"""A database that is restored as it was, while agents hold what came after: neither hole nor double."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.books import balanced, current, events, rows
from support.brute import rollups_equal_raw
from support.embedded_fleet import EmbeddedFleet
from support.fleet import SERVERS, fleet_toml
from support.programs import eventually

from sonde_agent.spool import Spool

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

_DAY_S = 86_400.0


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[EmbeddedFleet]:
    """A collector with an embedded database, and two agents that have sent something."""
    with EmbeddedFleet(tmp_path / "fleet") as running:
        yield running


def _measured_on(fleet: EmbeddedFleet, results: int) -> dict[str, int]:
    """Waits until each agent has so many results more acked; gives how far each is acked then."""
    before = {agent.code: current(agent).acked for agent in fleet.agents}
    for agent in fleet.agents:
        eventually(
            lambda a=agent: current(a).acked > before[a.code] + results, 60, lambda a=agent: fleet.story(a)
        )
    return {agent.code: current(agent).acked for agent in fleet.agents}


def _cursors(fleet: EmbeddedFleet) -> dict[str, int]:
    query = "SELECT p.code, s.acked_seq FROM sonde.streams s JOIN probe_locations p ON p.id = s.probe_id"
    return dict(rows(fleet, query))


def _revisions(fleet: EmbeddedFleet) -> set[int]:
    return {row[0] for row in rows(fleet, "SELECT revision FROM sonde.assignments")}


def test_agents_refill_a_restored_database(fleet: EmbeddedFleet) -> None:
    """Backup, more results and other plans, kill, restore: each result is there once, rollups are right."""
    saved = fleet.directory / "saved"
    made = json.loads(fleet.command("backup", str(saved), "--json"))
    assert made["rows"]["sonde.streams"] == len(fleet.agents)
    other = fleet_toml().replace('every = "1s"\nsuccess', 'every = "2s"\nsuccess')
    fleet.apply(other)
    late = max(_revisions(fleet))
    acked = _measured_on(fleet, 6 * SERVERS)
    database = rows(fleet, "SELECT id FROM sonde.database")
    fleet.collectors[0].kill()

    said = fleet.command("restore", str(saved), "--yes")
    assert re.search(r"restored \d+ rows of \d+ tables as of .* UTC, database id", said)
    fleet.apply(other)
    fleet.serve_again()
    fleet.drain()
    assert all(seq > acked[code] for code, seq in _cursors(fleet).items())
    assert rows(fleet, "SELECT id FROM sonde.database") == database
    assert min(_revisions(fleet)) > late, "agents would ignore what they are told"
    for agent in fleet.agents:
        assert events(agent.program, "cursor_behind")
        eventually(
            lambda a=agent: events(a.program, "assignment")[-1]["revision"] > late, 60, agent.program.tail
        )
    assert balanced(fleet) > 0
    assert rows(fleet, "SELECT count(*) FROM sonde.gaps") == [(0,)]
    assert rows(fleet, "SELECT count(*) FROM sonde.streams") == [(len(fleet.agents),)]
    refused = [event["reason"] for event in events(fleet.collectors[0], "agent_refused")]
    assert not refused, "a restored database took an agent for a copy"
    rollups_equal_raw(fleet.server.url(fleet.database))


def test_what_no_history_holds_any_more_is_a_gap(fleet: EmbeddedFleet) -> None:
    """History shorter than the rollback: what is gone is declared, the rest arrives, and nothing twice."""
    saved = fleet.directory / "saved"
    fleet.command("backup", str(saved))
    with psycopg.connect(fleet.server.url(fleet.database)) as conn:
        assert conn.execute("SELECT count(*) FROM sonde.backups").fetchone() == (1,)
    _measured_on(fleet, 2 * SERVERS)
    for agent in fleet.agents:
        assert agent.program.stop(within_s=15) == 0
        # Days later, as the spool's own clock sees it: all that is acked by now has left the history.
        spool = Spool.open(
            agent.spool,
            max_bytes=64 << 20,
            max_age_s=14 * _DAY_S,
            history_s=2 * _DAY_S,
            now=lambda: time.time() + 3 * _DAY_S,
        )
        assert spool.stats().history == 0
        spool.close()
    gone = {agent.code: current(agent).acked for agent in fleet.agents}
    fleet.collectors[0].kill()
    fleet.command("restore", str(saved), "--yes")
    restored = fleet.command("sql", "SELECT p.code, acked_seq FROM sonde.streams s JOIN probe_locations p "
                             "ON p.id = s.probe_id")  # fmt: skip
    behind = {code: int(seq) for code, seq in map(str.split, restored.splitlines())}
    assert all(behind[code] < gone[code] for code in gone)
    fleet.serve_again()
    for agent in fleet.agents:
        agent.program.start()
    _measured_on(fleet, SERVERS)
    assert balanced(fleet) > 0
    query = (
        "SELECT p.code, g.first_seq, g.last_seq, g.reason FROM sonde.gaps g "
        "JOIN sonde.streams s ON s.id = g.stream_id JOIN probe_locations p ON p.id = s.probe_id ORDER BY 1"
    )
    expected = [(code, behind[code] + 1, gone[code], "history_expired") for code in sorted(gone)]
    assert rows(fleet, query) == expected
