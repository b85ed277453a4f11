"""The schema keeps the first seed's names, and its queries run as written and answer sensibly."""

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sonde_collector.db import partitions
from sonde_collector.db.queries import parse
from sonde_proto.quality import Quality

pytestmark = pytest.mark.postgres
GOLDEN = Path(__file__).parents[1] / "golden"
SEED = (GOLDEN / "seed_schema.sql").read_text()
NAMES = """SELECT relname || '.' || attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
           WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
             AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition"""
QUERIES = parse((GOLDEN / "seed_queries.sql").read_text())
INVENTORY = """
INSERT INTO countries (iso_code, name) VALUES ('DE', 'Germany');
INSERT INTO cities (country_id, name) VALUES (1, 'Berlin');
INSERT INTO providers (name, slug) VALUES ('P', 'p');
INSERT INTO servers (provider_id, city_id, hostname) VALUES (1, 1, 'a.example'), (1, 1, 'b.example'), (1, 1,
'c.example'); INSERT INTO probe_locations (code) VALUES ('ber1');
INSERT INTO server_protocols VALUES (1, 2, NULL), (1, 1, 51820);
INSERT INTO streaming_platforms (slug, name) VALUES ('tv1', 'TV 1'), ('tv2', 'TV 2');
"""


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database with partitions and a little inventory."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(INVENTORY)
        now = dt.datetime.now(dt.UTC)
        partitions.keep_ahead(conn, every="month", ahead=1)
        for table in ("performance_logs", "streaming_checks"):
            partitions.ensure(conn, table, now - dt.timedelta(days=35), now)
        yield conn


def test_every_column_of_the_seed(database_url: str, empty_database_url: str) -> None:
    """Each table, view and column of the seed exists by its name."""
    with psycopg.connect(empty_database_url) as seed, psycopg.connect(database_url) as ours:
        seed.execute(SEED.encode())
        wanted = {row[0] for row in seed.execute(NAMES)}
        assert len(wanted) > 80
        assert wanted <= {row[0] for row in ours.execute(NAMES)}


def test_every_index_and_routine_of_the_seed(database_url: str) -> None:
    """Each index, function and procedure of the seed exists by its name; a view needs no index."""
    with psycopg.connect(database_url) as conn:
        indexes = {
            row[0] for row in conn.execute("SELECT indexname FROM pg_indexes WHERE schemaname = 'public'")
        }
        wanted = set(re.findall(r"CREATE (?:UNIQUE )?INDEX (\w+)", SEED))
        assert wanted - indexes == {"idx_mv_latest_perf", "idx_mv_daily_stats"}
        routines = conn.execute(
            "SELECT proname::text, prokind FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        )
        assert dict(routines.fetchall()) == {
            "create_next_partition": "f",
            "get_country_vpn_ranking": "f",
            "rollup_performance_logs": "p",
        }


def test_top_10(conn: psycopg.Connection) -> None:
    """The seed's top-10 gives the fastest first, and a server without a known speed does not lead it."""
    conn.execute(
        "INSERT INTO sonde.server_latest VALUES (1, 1, now(), 10, 50, 5, true), (2, 1, now(), 9, NULL, NULL, "
        "true),"
        " (3, 1, now(), 8, 90, 9, true)"
    )
    assert [row[0] for row in conn.execute(QUERIES["top_10"].encode())] == [3, 1]


def test_trend(conn: psycopg.Connection) -> None:
    """The seed's 30-day trend runs as written over sub-millisecond pings."""
    conn.execute(
        "INSERT INTO performance_logs (server_id, probe_id, ping_ms, download_mbps) VALUES (1, 1, 0.25, 100)"
    )
    conn.execute(f"PREPARE trend AS {QUERIES['trend_30_days']}".encode())
    (row,) = conn.execute("EXECUTE trend (1)").fetchall()
    assert [float(value) for value in row[1:]] == [100, 100, 0.25, 100]


def test_drizzle_selects(conn: psycopg.Connection) -> None:
    """Selects as the seed's Drizzle schema makes them run."""
    conn.execute(
        'select "id", "provider_id", "city_id", "hostname", "ip_address", "is_active", "created_at", '
        '"updated_at" from "servers" where "servers"."is_active" = true limit 5'
    )
    conn.execute('select "code", "city_id", "provider", "is_active" from "probe_locations"')
    conn.execute(
        'insert into "providers" ("id", "name", "slug") values (default, \'Q\', \'q\') returning "id"'
    )


def test_ranking(conn: psycopg.Connection) -> None:
    """The ranking orders by uptime, and a platform counts by its newest check, not by any success."""
    conn.execute(
        """INSERT INTO sonde.performance_daily
           (server_id, probe_id, day, sample_count, avg_ping, avg_download, uptime_pct)
           VALUES (1, 1, now(), 9, 20.25, 80, 99.5), (2, 1, now(), 9, 30, 90, 100), (3, 1, now(), 9, NULL,
           NULL, NULL); INSERT INTO streaming_checks (server_id, platform_id, checked_at, is_unlocked) VALUES
           (1, 1, now() - interval '2 hours', true), (1, 1, now() - interval '1 hour', false),
           (1, 2, now() - interval '2 hours', false), (1, 2, now() - interval '1 hour', true)"""
    )
    conn.execute("CALL rollup_performance_logs()")
    rows = conn.execute("SELECT * FROM get_country_vpn_ranking('DE', 20)").fetchall()
    assert [row[0] for row in rows] == [2, 1, 3]
    assert rows[1][1:4] == ("P", "p", "Berlin")
    assert rows[1][7:] == (["OpenVPN-UDP", "WireGuard"], ["tv2"])
    assert conn.execute("SELECT count(*) FROM get_country_vpn_ranking('DE', 1)").fetchone() == (1,)
    assert conn.execute("SELECT * FROM get_country_vpn_ranking('FR')").fetchall() == []


def test_the_seeds_answers_from_raw_rows(conn: psycopg.Connection) -> None:
    """Rows written as an agent's are, late ones too: top-10, ranking and trend say what they say."""
    conn.execute(
        """INSERT INTO performance_logs
           (server_id, probe_id, measured_at, ping_ms, download_mbps, connection_success, protocol_id, seq)
           VALUES (1, 1, now() - interval '3 hours', 10, 300, true, 1, 1),
                  (1, 1, now() - interval '1 hour', 12, NULL, NULL, NULL, 2),
                  (2, 1, now() - interval '2 hours', 20, 500, true, 1, 3),
                  (2, 1, now() - interval '1 hour', 22, 100, true, 1, 4),
                  (2, 1, now() - interval '1 minute', NULL, NULL, false, 1, 5),
                  (3, 1, now() - interval '1 hour', 5, NULL, NULL, NULL, 6);
           INSERT INTO sonde.dirty_marks
           SELECT DISTINCT 'performance', date_trunc('hour', measured_at, 'UTC'), probe_id
           FROM performance_logs"""
    )
    conn.execute("CALL rollup_performance_logs()")
    top = conn.execute(QUERIES["top_10"].encode()).fetchall()
    # The newest speed of each, and the ping of the same protocol; a server never loaded is not in it.
    assert [(row[0], float(row[4]), row[5]) for row in top] == [(1, 300, 10), (2, 100, 22)]
    ranked = conn.execute("SELECT * FROM get_country_vpn_ranking('DE')").fetchall()
    # Pings alone say nothing of uptime: last, not best.
    assert [row[0] for row in ranked] == [1, 2, 3]
    assert ranked[0][6] == 100
    assert 0 < ranked[1][6] < 100
    assert ranked[2][6] is None
    conn.execute(f"PREPARE trend AS {QUERIES['trend_30_days']}".encode())
    trend = conn.execute("EXECUTE trend (2)").fetchall()
    kept = conn.execute(
        "SELECT day, avg_download FROM mv_server_daily_stats WHERE server_id = 2 ORDER BY day"
    )
    assert [row[:2] for row in trend] == kept.fetchall()


def test_rollup_counts_late_data(conn: psycopg.Connection) -> None:
    """An hour is rolled up exactly, again when late rows are marked, and kept when its raw rows are gone."""
    hour = dt.datetime.now(dt.UTC).replace(minute=0, second=0, microsecond=0) - dt.timedelta(days=32)

    def add(seq: int, ping: float, *, success: bool | None) -> None:
        conn.execute(
            "INSERT INTO performance_logs (server_id, probe_id, measured_at, ping_ms, connection_success, "
            "stream_id, seq)"
            " VALUES (1, 1, %s, %s, %s, 1, %s)",
            (hour + dt.timedelta(minutes=seq), ping, success, seq),
        )
        conn.execute("INSERT INTO sonde.dirty_marks VALUES ('performance', %s, 1)", (hour,))

    def rolled() -> list[tuple[object, ...]]:
        conn.execute("CALL rollup_performance_logs()")
        return conn.execute(
            "SELECT sample_count, min_ping, max_ping, uptime_pct FROM performance_logs_hourly"
        ).fetchall()

    add(1, 1.5, success=True)
    assert rolled() == [(1, 1.5, 1.5, 100)]
    add(2, 0.5, success=False)
    add(3, 2.5, success=None)
    assert rolled() == [(3, 0.5, 2.5, 50)]
    assert conn.execute("SELECT count(*) FROM sonde.dirty_marks").fetchone() == (0,)
    conn.execute("DELETE FROM performance_logs")
    conn.execute("INSERT INTO sonde.dirty_marks VALUES ('performance', %s, 1)", (hour,))
    assert rolled() == [(3, 0.5, 2.5, 50)]


def test_quality_flags_are_the_wires(conn: psycopg.Connection) -> None:
    """sonde.quality_flags knows every bit of the wire by its name, and unknown ones by number."""
    for flag in Quality:
        assert conn.execute("SELECT sonde.quality_flags(%s)", (int(flag),)).fetchone() == (
            [str(flag.name).lower()],
        )
    assert conn.execute("SELECT sonde.quality_flags(0), sonde.quality_flags(1 << 30)").fetchone() == (
        [],
        ["bit_30"],
    )


def test_every_table_of_ours_is_described(database_url: str) -> None:
    """A reader of the database finds in it what each table and view means."""
    with psycopg.connect(database_url) as conn:
        bare = conn.execute(
            """SELECT oid::regclass::text FROM pg_class
               WHERE relkind IN ('r', 'p', 'v') AND NOT relispartition
                 AND relnamespace IN ('public'::regnamespace, 'sonde'::regnamespace)
               AND obj_description(oid, 'pg_class') IS NULL"""
        ).fetchall()
    assert bare == []
