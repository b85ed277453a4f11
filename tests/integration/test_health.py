"""Health on a real database: what vantages measured becomes states, changes and events."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from support.health import World, server_result, target_result
from support.ingest import connection

from sonde_collector.health.evaluate import turn
from sonde_proto.quality import Quality
from sonde_proto.v1 import results_pb2

pytestmark = pytest.mark.postgres
OTHERS = ("other/o1", "other/o2")


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database."""
    with connection(database_url) as conn:
        yield conn


def test_a_server_goes_down_and_comes_back(conn: psycopg.Connection) -> None:
    """Two failures from enough vantages make it UNHEALTHY, three successes HEALTHY; each is told once."""
    world = World(conn, servers=("acme/a1", *OTHERS))
    world.turn(rounds=2)
    assert world.states() == {"a1": "UNKNOWN", "o1": "UNKNOWN", "o2": "UNKNOWN"}
    world.turn()
    assert world.states() == {"a1": "HEALTHY", "o1": "HEALTHY", "o2": "HEALTHY"}
    assert world.told() == []
    world.turn(["a1"])
    assert world.state("a1") == "HEALTHY"
    world.turn(["a1"], rounds=3)
    assert world.state("a1") == "UNHEALTHY"
    world.turn(rounds=4)
    assert world.told() == [("a1", "UNHEALTHY", False), ("a1", "HEALTHY", True)]
    event = conn.execute(
        "SELECT detail, data, severity, topic FROM sonde.events ORDER BY id LIMIT 1"
    ).fetchone()
    assert event == (
        'server "a1" is UNHEALTHY, was HEALTHY: fails from 3 of 3 vantages (ams1, lon1, nyc1): timeout',
        {
            "object": "server", "key": "a1", "from": "HEALTHY", "to": "UNHEALTHY", "flapping": False,
            "reason": "fails from 3 of 3 vantages (ams1, lon1, nyc1): timeout",
            "vantages": ["ams1", "lon1", "nyc1"],
        },
        "critical",
        "health/server/a1",
    )  # fmt: skip
    history = conn.execute(
        "SELECT from_state, to_state FROM sonde.health_changes WHERE key = 'a1' ORDER BY at"
    )
    assert history.fetchall() == [("UNKNOWN", "HEALTHY"), ("HEALTHY", "UNHEALTHY"), ("UNHEALTHY", "HEALTHY")]


def test_too_few_vantages_are_degraded(conn: psycopg.Connection) -> None:
    """One vantage of three that fails it makes it DEGRADED, two UNHEALTHY."""
    world = World(conn, servers=("acme/a1", *OTHERS))
    world.turn(rounds=3)
    world.turn(["a1@ams1"], rounds=2)
    assert world.state("a1") == "DEGRADED"
    world.turn(["a1@ams1", "a1@lon1"], rounds=2)
    assert world.state("a1") == "UNHEALTHY"
    assert world.told() == [("a1", "DEGRADED", False), ("a1", "UNHEALTHY", False)]


def test_vantages_that_are_not_ready_do_not_count(conn: psycopg.Connection) -> None:
    """What an unready vantage measured does not count, nor one that is unready now, nor a silent one."""
    world = World(conn, servers=("acme/a1", *OTHERS))
    world.turn(rounds=3)
    for _ in range(3):
        for vantage in world.vantages:
            doubtful = server_result("a1", world.at_us(), ok=False, quality=int(Quality.NOT_READY))
            stepped = server_result("a1", world.at_us() + 1, ok=False, quality=int(Quality.CLOCK_STEPPED))
            ours = server_result("a1", world.at_us() + 2, ok=False, failure=results_pb2.FAILURE_LOCAL)
            world.send(vantage, [doubtful, stepped, ours])
        world.round += 1
        turn(conn)
    assert world.state("a1") == "HEALTHY"
    conn.execute(
        "INSERT INTO sonde.agents SELECT id, '', '', 0, now(), now(), 0, code <> 'ams1', 'clock', 0, 0, NULL,"
        " '', '{}', '{}' FROM probe_locations WHERE code <> 'nyc1'"
    )
    conn.execute(
        "UPDATE sonde.streams SET live_until = now() - interval '1 hour' FROM probe_locations p"
        " WHERE p.id = probe_id AND p.code = 'nyc1'"
    )
    world.vantages = ["ams1"]
    world.turn(["a1"], rounds=4)
    assert world.state("a1") == "HEALTHY"
    conn.execute("UPDATE sonde.agents SET ready = false")
    turn(conn)
    row = conn.execute("SELECT state, reason FROM sonde.health_states WHERE key = 'a1'").fetchone()
    assert row is not None
    assert row[0] == "UNKNOWN"
    assert row[1].endswith("(ams1 is not ready: clock, lon1 is not ready: clock, nyc1 is silent)")


def test_my_line_is_down(conn: psycopg.Connection) -> None:
    """A vantage at which all of independent owners fails at once is left out, and what it saw stays out."""
    world = World(conn, vantages=("ams1", "lon1"), servers=("acme/a1", *OTHERS), targets=("site",))
    world.set("fleet", vantages_needed=1)
    world.turn(rounds=3)
    world.turn(["@ams1"], rounds=5)
    assert set(world.states().values()) == {"HEALTHY"}
    world.turn(rounds=4)
    assert set(world.states().values()) == {"HEALTHY"}
    world.turn(["a1@ams1"], rounds=2)
    assert world.state("a1") == "UNHEALTHY"
    assert world.told() == [("a1", "UNHEALTHY", False)]


def test_all_fails_from_everywhere(conn: psycopg.Connection) -> None:
    """If all vantages see the same it is not their lines."""
    world = World(conn, servers=("acme/a1",), targets=("site", "api"))
    world.turn(rounds=3)
    world.turn(["a1", "site", "api"], rounds=2)
    assert set(world.states().values()) == {"UNHEALTHY"}


def test_flapping(conn: psycopg.Connection) -> None:
    """What changes too often is DEGRADED and told no more, until it rests."""
    world = World(conn, servers=("acme/a1", *OTHERS))
    world.set("fleet", healthy_threshold=1, unhealthy_threshold=1, flap_changes=4, flap_rest=3600.0)
    world.turn()
    for _ in range(5):
        world.turn(["a1"])
        world.turn()
    told = [("a1", "UNHEALTHY"), ("a1", "HEALTHY"), ("a1", "UNHEALTHY"), ("a1", "DEGRADED")]
    assert [event[:2] for event in world.told()] == told
    row = conn.execute("SELECT state, flapping FROM sonde.health_states WHERE key = 'a1'").fetchone()
    assert row == ("DEGRADED", True)
    world.set("fleet", healthy_threshold=1, unhealthy_threshold=1, flap_changes=4, flap_rest=0.0)
    turn(conn)
    assert world.told()[-1] == ("a1", "HEALTHY", True)
    assert world.state("a1") == "HEALTHY"


def test_protocols_and_speed(conn: psycopg.Connection) -> None:
    """One protocol of several that fails is DEGRADED, and so is a slow one; what each says stands in data."""
    world = World(conn, servers=("acme/a1", *OTHERS))
    for ok in (True, True, True, False, False):
        for vantage in world.vantages:
            good = server_result("a1", world.at_us(), ok=True, family=4)
            bad = server_result("a1", world.at_us(), ok=ok, protocol="OpenVPN-UDP")
            world.send(vantage, [good, bad])
        world.round += 1
        turn(conn)
    row = conn.execute(
        "SELECT state, data->'vantages'->'ams1' FROM sonde.health_states WHERE key = 'a1'"
    ).fetchone()
    says = {"says": "partly failing", "by": {"WireGuard/IPv4": "well", "OpenVPN-UDP": "failing"}}
    assert row == ("DEGRADED", says)
    world.turn(rounds=3)
    world.set("server/o1", degraded_ms=10.0)
    turn(conn)
    assert (world.state("o1"), world.state("o2")) == ("DEGRADED", "HEALTHY")


def test_addresses_of_a_target(conn: psycopg.Connection) -> None:
    """Edges that a target names are judged one by one; of a name whose addresses rotate they are one."""
    world = World(conn, vantages=("ams1",), servers=OTHERS, targets=("edges", "name"))
    conn.execute(
        """UPDATE sonde.targets SET spec = '{"connect_to": ["192.0.2.1", "192.0.2.2"]}' WHERE key = 'edges'"""
    )
    for number in range(4):
        at = world.at_us(number)
        edges = [target_result("edges", at + i, ok=i == 1, address=f"192.0.2.{i}") for i in (1, 2)]
        name = [target_result("name", at + i, ok=True, address=f"192.0.2.{10 * number + i}") for i in (1, 2)]
        world.send("ams1", [*edges, *name])
    turn(conn)
    rows = conn.execute(
        "SELECT key, state, data->'vantages'->'ams1'->'by' FROM sonde.health_states WHERE object = 'target'"
    )
    assert sorted(rows.fetchall()) == [
        ("edges", "DEGRADED", {"192.0.2.1": "well", "192.0.2.2": "failing"}),
        ("name", "HEALTHY", {"any address": "well"}),
    ]


def test_late_results_change_nothing(conn: psycopg.Connection) -> None:
    """An agent that was offline sends what it measured long ago: neither a state nor an event comes of it."""
    world = World(conn, servers=("acme/a1", *OTHERS))
    world.turn(rounds=12)
    before = conn.execute(
        "SELECT object, key, state, since, data FROM sonde.health_states ORDER BY 1, 2"
    ).fetchall()
    early = world.begin_us - 100_000_000
    world.send("ams1", [server_result("a1", early + i * 1_000_000, ok=False) for i in range(50)])
    turn(conn)
    after = conn.execute(
        "SELECT object, key, state, since, data FROM sonde.health_states ORDER BY 1, 2"
    ).fetchall()
    assert after == before
    assert world.told() == []


def test_failover_and_return(conn: psycopg.Connection) -> None:
    """The next member is active once the first is down, by its state or by its answers; the first returns."""
    world = World(conn, vantages=("ams1", "lon1"), servers=OTHERS, targets=("main", "spare"))
    spec = {"members": ["main", "spare"], "failover_codes": [503], "failover_timeout": 1.0}
    world.group("site", **spec, return_after=3600.0)
    world.turn(rounds=3)
    assert world.states()["site"] == "HEALTHY"
    world.turn(["main"], rounds=2)
    assert world.states() == {
        "main": "UNHEALTHY",
        "spare": "HEALTHY",
        "site": "DEGRADED",
        "o1": "HEALTHY",
        "o2": "HEALTHY",
    }
    world.turn(rounds=3)
    assert world.state("main") == "HEALTHY"
    told = 'origin group "site" goes over from "main" to "spare"'
    assert world.told("origin_failover") == [("site", "spare", False)]
    world.group("site", **spec, return_after=0.0)
    world.turn()
    assert world.told("origin_failover")[1:] == [("site", "main", True)]
    for number in range(2):
        for vantage in world.vantages:
            busy = target_result("main", world.at_us() + number, ok=True, status=503)
            slow = target_result("spare", world.at_us() + number, ok=True, total_ms=1500.0)
            world.send(vantage, [busy] if number else [busy, slow])
        world.round += 1
        turn(conn)
    assert world.states()["main"] == "HEALTHY"
    assert world.told("origin_failover")[2:] == [("site", "spare", False)]
    row = conn.execute("SELECT data->>'active', state FROM sonde.health_states WHERE key = 'site'").fetchone()
    assert row == ("spare", "DEGRADED")
    details = [
        row[0]
        for row in conn.execute("SELECT detail FROM sonde.events WHERE kind = 'origin_failover' ORDER BY id")
    ]
    assert details == [told, 'origin group "site" is back at "main"', told]


def test_certificates(conn: psycopg.Connection) -> None:
    """A certificate that ends soon is told of once, and its renewal."""
    world = World(conn, vantages=("ams1",), servers=OTHERS, targets=("site",))
    conn.execute("""UPDATE sonde.targets SET spec = '{"kind": "http", "url": "https://site.test/"}'""")
    day = 86_400_000_000
    for days in (10, 10, 90):
        end = world.at_us(0) + days * day
        world.send(
            "ams1",
            [target_result("site", world.at_us(), ok=True, address="192.0.2.1", cert_not_after_us=end)],
        )
        world.round += 1
        turn(conn)
    rows = conn.execute(
        "SELECT data->'threshold_days', severity, resolved FROM sonde.events ORDER BY id"
    ).fetchall()
    assert rows == [(14, "warning", False), (None, "info", True)]


def test_what_is_no_longer_watched(conn: psycopg.Connection) -> None:
    """A server that leaves the inventory has no state any more, and what was told of it ends."""
    world = World(conn, servers=("acme/a1", *OTHERS))
    world.turn(rounds=3)
    world.turn(["a1"], rounds=2)
    conn.execute(
        "UPDATE servers SET is_active = false FROM sonde.server_keys WHERE server_id = id AND key = 'a1'"
    )
    turn(conn)
    assert world.states() == {"o1": "HEALTHY", "o2": "HEALTHY"}
    assert world.told() == [("a1", "UNHEALTHY", False), ("a1", "UNKNOWN", True)]
    assert conn.execute("SELECT count(*) FROM sonde.health_windows").fetchone() == (2,)


def test_two_collectors_tell_once(conn: psycopg.Connection, database_url: str) -> None:
    """However many collectors take turns at once, each change is told once."""
    world = World(conn, servers=("acme/a1", *OTHERS))
    with ThreadPoolExecutor(4) as pool, connection(database_url) as other, connection(database_url) as third:
        for down in ((), (), (), ("a1",), ("a1",), ("a1",), (), (), ()):
            world.measure(down)
            for done in [pool.submit(turn, each) for each in (conn, other, third)]:
                done.result()
            turn(conn)
    assert world.told() == [("a1", "UNHEALTHY", False), ("a1", "HEALTHY", True)]
    assert conn.execute("SELECT count(*) FROM sonde.health_inbox").fetchone() == (0,)
