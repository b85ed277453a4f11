"""`agents run`: tasks on many agents, now; with real agents, collectors and PostgreSQL that come and go."""

import signal
from collections.abc import Iterator

import psycopg
import pytest
from support.asking import SLOW, Operator, operated
from support.fleet import SERVERS, TARGETS
from support.postgres import Server
from support.programs import eventually

from sonde_collector.maintain.judge import sweep

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def operator(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """A fleet for all of these tests; each asks for tasks that no other has asked for a moment ago."""
    with operated(postgres_server, "agents_run", tmp_path_factory.mktemp("run")) as made:
        yield made


def test_all_answer_and_all_is_committed(operator: Operator) -> None:
    """Each task ran once on each vantage, its result flagged and committed, and in no average."""
    rows = operator.asks("pings", "--on", "all", "--timeout", "30s")
    assert set(rows) == {"ams1", "nyc1"}
    for code, row in rows.items():
        assert (row["tasks"], row["done"], row["committed"]) == (SERVERS, SERVERS, SERVERS), row
        assert operator.on_demand(code, "performance_logs") == SERVERS
    hour = "date_trunc('hour', now() - interval '1 minute'), now() + interval '1 hour'"
    counted = operator.one(
        f"SELECT sum(sample_count) - (SELECT count(*) FROM performance_logs WHERE quality & 4096 = 0) "
        f"FROM sonde.performance_figures({hour}, (SELECT array_agg(id) FROM probe_locations))"
    )
    assert abs(counted) < SERVERS, "what was run on demand is in the averages"
    again = operator.asks("pings", "--on", "all")
    assert {(row["skipped"], row["reasons"]["missed: too_soon"]) for row in again.values()} == {
        (SERVERS, SERVERS)
    }
    assert operator.on_demand("ams1", "performance_logs") == SERVERS


def test_what_is_narrowed_refused_or_fails_is_told(operator: Operator) -> None:
    """By target, by pattern of vantages; a failed target is an answer, and so is the agent's own policy."""
    done = operator.agents("run", "ports", "--on", "am*", "--targets", "closed1", "--timeout", "30s")
    assert done.returncode == 0, done.stderr
    assert "failed: refused 1" in done.stdout
    assert "all 1 answered" in done.stdout
    assert "nyc1" not in done.stdout
    agent = operator.fleet.agents[0]
    config = agent.directory / "agent.toml"
    plain = config.read_text()
    config.write_text(plain + 'deny_targets = ["closed2"]\n')
    try:
        agent.program.stop()
        agent.program.start()
        row = operator.asks("ports", "--on", "ams1", "--targets", "closed2,closed3", "--timeout", "30s")[
            "ams1"
        ]
        assert (row["refused"], row["failed"], row["no_answer"]) == (1, 1, 0)
        assert 'refused: policy.deny_targets holds "closed2"' in row["reasons"]
        eventually(
            lambda: len(operator.states()["ams1"]["refused"]) == 1, 30, "the refused task is listed as such"
        )
    finally:
        config.write_text(plain)
        agent.program.stop()
        agent.program.start()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("nope", "--on", "all"), 'plan "nope" has no such task'),
        (("pings", "--on", "mars"), 'no active vantage is called "mars": active are ams1, nyc1'),
        (("pings", "--on", "all", "--servers", "nobody"), "has no such task"),
        (("pings", "--on", "all", "--timeout", "2h"), 'must be between "1s" and "1h"'),
        (("pings", "--on", ","), "names nothing"),
    ],
)
def test_bad_usage_asks_nobody(operator: Operator, argv: tuple[str, ...], says: str) -> None:
    """One line that says what is wrong, exit 2, and no request."""
    before = operator.one("SELECT count(*) FROM sonde.run_requests")
    done = operator.agents("run", *argv)
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert operator.one("SELECT count(*) FROM sonde.run_requests") == before


def test_who_is_away_does_not_answer_and_who_comes_back_does(operator: Operator) -> None:
    """An agent that is away makes exit 1, as offline once it is silent; one that starts in time is asked."""
    agent = operator.fleet.agents[1]
    agent.program.kill()
    operator.execute("UPDATE sonde.agents SET last_seen = now() - interval '10 min' WHERE probe_id = 2")
    code = operator.one("SELECT code FROM probe_locations WHERE id = 2")
    assert code == "nyc1"
    rows = operator.asks("ports", "--on", "all", "--targets", "closed5", "--timeout", "2s", code=1)
    assert (rows["ams1"]["failed"], rows["nyc1"]["offline"], rows["nyc1"]["no_answer"]) == (1, 1, 0)
    with operator.asking("ports", "--on", "nyc1", "--targets", "closed6", "--timeout", "30s") as asking:
        agent.program.start()
        out, err = asking.communicate(timeout=60)
    assert asking.returncode == 0, err
    assert "all 1 answered" in out
    assert operator.on_demand("nyc1") == 1, "what was asked for before it came was over"


def test_an_agent_that_is_too_old_is_told_as_such(operator: Operator) -> None:
    """Whose agent never said that it can be asked is not waited for: exit 1 at once."""
    agent = operator.fleet.agents[1]
    agent.program.stop()
    operator.execute("UPDATE sonde.agents SET capabilities = '{ping4}' WHERE probe_id = 2")
    try:
        done = operator.agents("run", "ports", "--on", "nyc1", "--targets", "closed7", "--timeout", "1h")
    finally:
        agent.program.start()
    assert done.returncode == 1
    assert "1 of 1 not answered; too old to be asked: nyc1" in done.stdout


def test_collectors_may_die_and_agents_move_meanwhile(operator: Operator) -> None:
    """The collector is killed with runs under way and the agents go on at another: each ran once."""
    fleet = operator.fleet
    before = operator.on_demand("ams1") + operator.on_demand("nyc1")
    index = fleet.add_collector()
    with operator.asking("slow", "--on", "all", "--timeout", "60s") as asking:
        eventually(
            lambda: operator.one("SELECT count(*) > 3 FROM sonde.run_tasks WHERE task LIKE 'slow/%%' AND "
                                 "outcome IS NOT NULL"), 30, "some are answered",
        )  # fmt: skip
        fleet.collectors[0].kill()
        for agent in fleet.agents:
            agent.proxy.lead_to(fleet.ports[index])
            agent.proxy.cut()
        out, err = asking.communicate(timeout=90)
    assert asking.returncode == 0, out + err
    assert f"all {2 * SLOW} answered" in out
    fleet.collectors[0].start()
    assert operator.on_demand("ams1") + operator.on_demand("nyc1") == before + 2 * SLOW


def test_nobody_needs_to_wait(operator: Operator) -> None:
    """Ctrl-C ends the waiting with a word and not the request; --no-wait asks and ends."""
    before = operator.on_demand("nyc1")
    with operator.asking(
        "ports", "--on", "nyc1", "--targets", "closed8,closed9", "--timeout", "30s"
    ) as asking:
        asking.send_signal(signal.SIGINT)
        _, err = asking.communicate(timeout=30)
    assert asking.returncode == 130
    assert "Traceback" not in err
    assert "nobody waits any more" in err
    asked = operator.agents("run", "ports", "--on", "nyc1", "--targets", "closed10", "--no-wait")
    assert asked.returncode == 0
    assert "1 runs asked of 1 vantages" in asked.stdout
    eventually(lambda: operator.on_demand("nyc1") == before + 3, 30, "what was asked for is measured")


def test_requests_are_forgotten(operator: Operator) -> None:
    """A day after its end a request leaves the database with its tasks."""
    assert operator.one("SELECT count(*) FROM sonde.run_tasks") > TARGETS
    operator.execute("UPDATE sonde.run_requests SET expires_at = now() - interval '25 hours'")
    with psycopg.connect(operator.fleet.server.url(operator.fleet.database), autocommit=True) as conn:
        sweep(conn)
    assert operator.one("SELECT count(*) FROM sonde.run_tasks") == 0
