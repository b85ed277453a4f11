"""What is read of unlock checks equals what anybody would reckon from the rows."""

import datetime as dt
import random
from collections.abc import Iterator

import psycopg
import pytest
from support.builders import inventory
from support.unlocks import NOW, PLATFORMS, Check, insert, matrix, platforms, rule_states, unlocked

from sonde_collector.db import partitions
from sonde_collector.unlock.voiding import void

pytestmark = pytest.mark.postgres
VERDICTS = (
    "available", "available", "available", "partial", "not_in_region", "proxy_detected", "blocked",
    "rate_limited", "unsupported_family", "network_error", "inconclusive", "not_configured",
)  # fmt: skip


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database with three servers, two vantages, three platforms."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn, vantages=("ams1", "lon1"), servers=("s1", "s2", "s3"))
        platforms(conn)
        for table in ("streaming_checks", "sonde.canary_checks"):
            partitions.ensure(conn, table, NOW - dt.timedelta(days=20), NOW, every="day")
        yield conn


def checks(dice: random.Random, count: int) -> list[Check]:
    """Give random checks of the last days, many at the same moments."""
    return [
        Check(
            dice.choice([None, 1, 1, 2, 2, 3]),
            dice.randint(1, 3),
            dice.randint(1, 2),
            dice.choice([0, 1, 2, 3, 10, 20, 23, 25, 47, 49, 71, 100]) * 3600.0 + dice.choice([0, 60]),
            dice.choice(VERDICTS),
            dice.choice(["1", "1", "2"]),
            dice.choice([4, 4, 6]),
            dice.choice([1, 1, 2]),
            failure=dice.choice([None] * 6 + ["auth"]),
            quality=dice.choice([0] * 6 + [4, 5]),
        )
        for _ in range(count)
    ]


def test_matrix_and_unlocked_are_what_brute_force_gives(conn: psycopg.Connection) -> None:
    """The matrix, and what each server unlocks, over random rows with voided versions, in several windows."""
    void(conn, PLATFORMS[0], "2", "stale")
    voided = {(1, "2")}
    dice = random.Random(3)
    causes, opened = set(), 0
    for _ in range(25):
        conn.execute("TRUNCATE streaming_checks, sonde.canary_checks")
        made = insert(conn, checks(dice, dice.randint(1, 120)))
        states = rule_states(made, {}, voided)
        for days in (1, 2, 7):
            since = NOW - dt.timedelta(days=days)
            rows = conn.execute(
                "SELECT m.server_id, m.platform_id, m.family, m.protocol_id, c.seq, m.verdict, m.cause"
                " FROM sonde.unlock_matrix(%s) m JOIN streaming_checks c USING (server_id, platform_id, "
                "family, protocol_id, checked_at, probe_id, verdict, rule_version) ORDER BY c.seq",
                (since,),
            ).fetchall()
            found = {tuple(row[:4]): tuple(row[4:]) for row in rows}
            assert found == matrix(made, since, states, voided)
            causes |= {row[6] for row in rows}
            for server in (1, 2, 3):
                row = conn.execute("SELECT sonde.unlocked(%s, %s)", (server, since)).fetchone()
                assert row is not None
                wanted = unlocked(made, server, since, voided)
                assert row[0] == sorted(PLATFORMS[platform - 1] for platform in wanted)
                opened += len(wanted)
    assert causes >= {"exit", None}
    assert opened > 20


@pytest.mark.parametrize("verdict", ["network_error", "inconclusive", "rate_limited", "not_configured"])
def test_what_says_nothing_does_not_flip_the_answer(conn: psycopg.Connection, verdict: str) -> None:
    """After an available check a fault on the way changes the matrix, not what the server unlocks."""
    insert(conn, [Check(ago_s=7200), Check(ago_s=60, verdict=verdict)])
    since = NOW - dt.timedelta(days=1)
    assert conn.execute("SELECT sonde.unlocked(1, %s)", (since,)).fetchone() == (["netflix"],)
    assert conn.execute("SELECT verdict FROM sonde.unlock_matrix(%s)", (since,)).fetchall() == [(verdict,)]
    ranked = conn.execute("SELECT is_conclusive FROM sonde.unlock_checks ORDER BY checked_at").fetchall()
    assert ranked == [(True,), (False,)]


@pytest.mark.parametrize("verdict", ["partial", "not_in_region", "proxy_detected", "blocked"])
def test_a_conclusive_no_closes_it(conn: psycopg.Connection, verdict: str) -> None:
    """A newer conclusive check that is not available closes the platform, in either family."""
    since = NOW - dt.timedelta(days=1)
    insert(conn, [Check(ago_s=7200), Check(ago_s=60, verdict=verdict), Check(ago_s=60, family=6, platform=2)])
    insert(conn, [Check(ago_s=50, verdict=verdict, platform=2, seq=90)])
    assert conn.execute("SELECT sonde.unlocked(1, %s)", (since,)).fetchone() == ([],)


def test_the_country_ranking_follows(conn: psycopg.Connection) -> None:
    """The seed's ranking shows a platform by the newest check that counts, and forgets what is voided."""
    conn.execute(
        "INSERT INTO sonde.performance_daily (server_id, probe_id, day, sample_count, avg_ping, uptime_pct,"
        " connection_count, connection_ok) VALUES (1, 1, date_trunc('day', now(), 'UTC'), 1, 10, 100, 1, 1)"
    )
    conn.execute(
        "INSERT INTO sonde.dirty_marks (series, hour, probe_id)"
        " VALUES ('server_day', date_trunc('day', now(), 'UTC'), 0)"
    )
    conn.execute("SELECT sonde.rollup_server_days()")
    insert(conn, [Check(), Check(platform=2, version="9"), Check(platform=3, verdict="partial")])
    ranking = "SELECT streaming_platforms FROM get_country_vpn_ranking('NL')"
    assert conn.execute(ranking).fetchall() == [(["bbc-iplayer", "netflix"],)]
    void(conn, "bbc-iplayer", "9", "a marker was wrong")
    assert conn.execute(ranking).fetchall() == [(["netflix"],)]
