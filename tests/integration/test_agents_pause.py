"""`agents pause` and `resume`: vantages that measure nothing for a while, and nobody is alarmed."""

import json
import tomllib
import urllib.request
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.rows import dict_row
from support.asking import Operator, operated
from support.audit import read_spool
from support.fleet import Agent
from support.postgres import Server
from support.programs import eventually

from sonde_collector.db.queries import query
from sonde_collector.health.watched import read as read_watched

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def operator(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """A fleet for all of these tests, whose vantages measure when one begins."""
    with operated(postgres_server, "agents_pause", tmp_path_factory.mktemp("pause")) as made:
        yield made


def measured(operator: Operator, code: str) -> int:
    """How many results of checks of a vantage are in the database."""
    return int(
        operator.one(
            "SELECT count(*) FROM (SELECT probe_id FROM performance_logs UNION ALL SELECT probe_id FROM "
            "sonde.endpoint_checks) r JOIN probe_locations ON id = probe_id WHERE code = %s",
            code,
        )
    )


def spooled(agent: Agent) -> int:
    """The seq of the newest result that an agent has kept."""
    return max(stream.highest for stream in read_spool(agent.spool, bodies=False))


def takes(operator: Operator, code: str) -> None:
    """Waits until the agent of a vantage has the newest assignment."""
    eventually(lambda: not operator.states()[code]["behind"], 30, "the agent has the assignment")


def test_it_delivers_and_measures_nothing_until_it_is_resumed(operator: Operator) -> None:
    """Over a restart without a collector too; the slots that passed are a few rows; the other one goes on."""
    agent, other = operator.fleet.agents
    done = operator.agents("pause", "ams1", "--for", "1h", "--reason", "new uplink")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ams1 is paused until ")
    takes(operator, "ams1")
    eventually(lambda: operator.states()["ams1"]["spool_rows"] == 0, 60, "what it had is delivered")
    before, before_other = spooled(agent), spooled(other)
    eventually(lambda: spooled(other) > before_other + 100, 60, "the other one measures on")
    assert spooled(agent) <= before + 1, "at most its own health"

    state = operator.states()["ams1"]
    assert (state["state"], state["pause_reason"]) == ("paused", "new uplink")
    shown = operator.agents()
    assert "(new uplink)" in shown.stdout
    row = operator.asks("ports", "--on", "ams1", "--targets", "closed1", "--timeout", "30s")["ams1"]
    assert (row["skipped"], row["reasons"]) == (1, {"missed: paused": 1})

    operator.fleet.collectors[0].stop()
    agent.program.stop()
    began = spooled(agent)
    agent.program.start()
    before_other = spooled(other)
    eventually(lambda: spooled(other) > before_other + 50, 60, "the other one measures on")
    assert spooled(agent) <= began + 1, "it forgot the pause over its restart"
    operator.fleet.collectors[0].start()

    assert operator.agents("resume", "ams1", "nyc1").returncode == 0
    here = measured(operator, "ams1")
    eventually(lambda: measured(operator, "ams1") > here + 50, 60, "it measures again")
    rows = "SELECT {} FROM sonde.missed_runs WHERE reason = 'paused' AND task = '*'"
    eventually(
        lambda: operator.one(rows.format("count(*)")) == 2, 30, "one row before the restart, one after"
    )
    assert operator.one(rows.format("sum(slots)")) > 100
    assert operator.states()["ams1"]["state"] == "live"
    assert operator.agents("resume", "ams1").returncode == 1
    kinds = (
        "SELECT array_agg(kind ORDER BY id) FROM sonde.events WHERE kind LIKE 'agent_%%' AND subject = 'ams1'"
    )
    assert operator.one(kinds) == ["agent_paused", "agent_resumed"]


def test_it_ends_by_its_time_with_nobody_there(operator: Operator) -> None:
    """With no collector the agent itself knows when it may measure again."""
    agent = operator.fleet.agents[0]
    assert operator.agents("pause", "ams1", "--for", "20s").returncode == 0
    takes(operator, "ams1")
    operator.fleet.collectors[0].stop()
    try:
        before = spooled(agent)
        eventually(lambda: spooled(agent) > before + 50, 60, "it measures again")
    finally:
        operator.fleet.collectors[0].start()
    eventually(lambda: operator.states()["ams1"]["state"] == "live", 60, "it is live again")


def test_nobody_is_alarmed(operator: Operator) -> None:
    """A paused vantage is not silent and not unfit, and what it alone measured is UNKNOWN without a word."""
    told = "SELECT count(*) FROM sonde.events WHERE kind IN ('health_changed', 'agent_silent')"
    healthy = "SELECT count(*) FROM sonde.health_states WHERE object = 'server' AND state = 'HEALTHY'"
    eventually(lambda: operator.one(healthy) > 30, 60, "servers are judged")
    before = operator.one(told)
    assert operator.agents("pause", "all", "--reason", "works").returncode == 0
    for code in ("ams1", "nyc1"):
        takes(operator, code)
    with psycopg.connect(operator.fleet.server.url(operator.fleet.database), autocommit=True) as conn:
        conn.execute("UPDATE sonde.agents SET last_seen = now() - interval '1 hour'")
        with conn.cursor(row_factory=dict_row) as cursor:
            assert {row["paused"] for row in cursor.execute(query("watch_agents"))} == {True}
            counts = cursor.execute(query("status_counts"), {"silent": 90}).fetchone()
        document = conn.execute(query("health_watched")).fetchone()
    assert counts is not None
    assert (counts["paused"], counts["silent"], counts["unready"]) == (2, 0, 0)
    assert document is not None
    assert {one.unfit for one in read_watched(document[0], {}).vantages.values()} == {"is paused"}
    unknown = (
        "SELECT count(*) FROM sonde.health_states WHERE object = 'server' AND reason LIKE '%%is paused%%'"
    )
    eventually(lambda: operator.one(unknown) >= 40, 60, "servers are judged again")
    assert operator.one(told) == before

    config = tomllib.loads((operator.fleet.directory / "collector0" / "collector.toml").read_text())
    with urllib.request.urlopen(f"http://{config['http']['listen']}/v1/agents", timeout=30) as answer:
        agents = json.load(answer)["items"]
    assert {(one["state"], one["pause_reason"], one["paused_until_at"]) for one in agents} == {
        ("paused", "works", None)
    }
    assert operator.agents("resume", "all").returncode == 0
    eventually(lambda: operator.one(healthy) > 30, 90, "servers are judged again")
    assert operator.one(told) == before


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("mars",), 'no active vantage is called "mars"'),
        (("ams1", "--for", "never"), "must be a duration"),
        (("ams1", "--reason", "\x1b[1m"), "printable characters"),
    ],
)
def test_bad_usage_pauses_nobody(operator: Operator, argv: tuple[str, ...], says: str) -> None:
    """One line that says what is wrong, and exit 2."""
    done = operator.agents("pause", *argv)
    assert done.returncode == 2
    assert says in done.stderr
    assert operator.one("SELECT count(*) FROM sonde.paused") == 0
