"""A live database of the seed's schema becomes Sonde's: rows, ids and links kept."""

import datetime as dt
import threading
import time
from pathlib import Path

import psycopg
import pytest

from sonde_collector.db import errors, partitions
from sonde_collector.db.adopt import adopt
from sonde_collector.db.migrate import check, migrate, pending

pytestmark = pytest.mark.postgres
SEED = Path(__file__).parents[1] / "golden" / "seed_schema.sql"

INVENTORY = """
INSERT INTO countries (id, iso_code, name) VALUES (7, 'DE', 'Germany'), (8, 'FR', 'France');
INSERT INTO cities (country_id, name) SELECT 7 + n %% 2, 'City ' || n FROM generate_series(1, 10) n;
INSERT INTO probe_locations (code, city_id) SELECT 'p' || n, n FROM generate_series(1, 5) n;
INSERT INTO protocols (name, default_port) VALUES ('Shadowsocks', 8388), ('WireGuard', 51821);
INSERT INTO streaming_platforms (slug, name) SELECT 'tv' || n, 'TV ' || n FROM generate_series(1, 4) n;
INSERT INTO providers (name, slug, affiliate_link) SELECT 'VPN ' || n, 'vpn' || n, 'https://aff.example/' || n
  FROM generate_series(1, 3) n;
INSERT INTO servers (provider_id, city_id, hostname) SELECT 1 + n %% 3, 1 + n %% 10, 'h' || n || '.example'
  FROM generate_series(1, 40) n;
DELETE FROM servers WHERE id IN (3, 5);
"""
ROWS = """
INSERT INTO performance_logs
SELECT s.id, p.id, t, (random() * 200)::smallint, random() * 900, random() * 300, (random() * 9)::smallint,
       random(), random() > 0.02, (random() * 2000)::smallint
FROM (SELECT '2026-01-01'::timestamptz + n * (interval '59 days' / %(runs)s) AS t
      FROM generate_series(0, %(runs)s - 1) n) AS runs,
     servers s, probe_locations p;
INSERT INTO streaming_checks
SELECT s.id, p.id, '2026-01-05'::timestamptz + n * interval '1 day', random() > 0.5, 100
FROM servers s, streaming_platforms p, generate_series(1, %(checks)s) n;
CREATE TABLE performance_logs_hourly_2026_01 PARTITION OF performance_logs_hourly
  FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
INSERT INTO performance_logs_hourly VALUES (1, 1, '2026-01-05 10:00Z', 60, 12.5, 3, 40, 100, 200, 50, 99.5);
REFRESH MATERIALIZED VIEW mv_server_latest_performance;
REFRESH MATERIALIZED VIEW mv_server_daily_stats;
"""
# What is compared between a fresh and an adopted database: everything but partitions and rows.
SHAPE = {
    "columns": """SELECT c.oid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull,
                         attnum,
                         pg_get_expr(adbin, adrelid), attidentity, attgenerated,
                         col_description(c.oid, attnum)
                  FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
                  LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
                  WHERE attnum > 0 AND NOT attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'i', 'I')""",
    "relations": """SELECT c.oid::regclass::text, relkind, reloptions,
                           obj_description(c.oid, 'pg_class')
                    FROM pg_class c WHERE true""",
    "indexes": """SELECT c.oid::regclass::text, pg_get_indexdef(c.oid) FROM pg_class c
                  WHERE relkind IN ('i', 'I')""",
    "constraints": """SELECT c.oid::regclass::text, conname, pg_get_constraintdef(k.oid)
                      FROM pg_constraint k JOIN pg_class c ON c.oid = conrelid WHERE true""",
    "views": "SELECT c.oid::regclass::text, pg_get_viewdef(c.oid) FROM pg_class c WHERE relkind = 'v'",
}
_OURS = " AND c.relnamespace IN ('public'::regnamespace, 'sonde'::regnamespace) AND NOT c.relispartition"
FUNCTIONS = """SELECT oid::regprocedure::text, pg_get_functiondef(oid), obj_description(oid, 'pg_proc')
               FROM pg_proc
               WHERE pronamespace IN ('public'::regnamespace, 'sonde'::regnamespace) ORDER BY 1"""


def _shape(conn: psycopg.Connection) -> dict[str, list[tuple[object, ...]]]:
    found = {
        what: sorted(conn.execute(f"{ask}{_OURS}".encode()).fetchall(), key=str)
        for what, ask in SHAPE.items()
    }
    return found | {"functions": conn.execute(FUNCTIONS).fetchall()}


def _seed(conn: psycopg.Connection, *, runs: int, checks: int) -> None:
    conn.execute(SEED.read_bytes())
    conn.execute(INVENTORY.replace("%%", "%").encode())
    conn.execute((ROWS % {"runs": runs, "checks": checks}).encode())


def _rows(conn: psycopg.Connection) -> dict[str, object]:
    """Sums over every seed column of every seed table; what must not change."""
    asks = {
        "performance_logs": "server_id, probe_id, measured_at, ping_ms::real, download_mbps, upload_mbps, "
        "jitter_ms::real, packet_loss_pct, connection_success, connection_time_ms::real",
        "streaming_checks": "server_id, platform_id, checked_at, is_unlocked, response_time_ms::real",
        "performance_logs_hourly": "server_id, probe_id, hour, sample_count::int, avg_ping, "
        "min_ping::real, max_ping::real, uptime_pct",
    } | dict.fromkeys(
        (
            "countries",
            "cities",
            "probe_locations",
            "streaming_platforms",
            "providers",
            "servers",
            "server_protocols",
        ),
        "t.*",
    )
    return {
        table: conn.execute(
            f"SELECT count(*), sum(hashtextextended(ROW({what})::text, 0)) FROM {table} t"
        ).fetchone()
        for table, what in asks.items()
    }


def test_adopted_is_like_fresh(empty_database_url: str, database_url: str) -> None:
    """All rows survive, the schema is a fresh database's, the views are filled, the old writer goes on."""
    lines: list[str] = []
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        _seed(conn, runs=500, checks=30)
        before = _rows(conn)
        assert before["performance_logs"][0] == 95_000  # type: ignore[index]
        assert isinstance(before["providers"], tuple)
        with pytest.raises(errors.SeedSchemaFound, match="migrate --adopt"):
            migrate(conn)
        adopt(conn, dry_run=True, out=lines.append)
        assert "95000 rows rewritten" in "\n".join(lines)
        assert "locked for about" in "\n".join(lines)
        assert len(pending(conn)) > 0
        adopt(conn, dry_run=False, out=lines.append)
        assert _rows(conn) == before
        assert pending(conn) == []
        assert conn.execute("SELECT affiliate_link FROM providers WHERE id = 2").fetchone() == (
            "https://aff.example/2",
        )
        assert conn.execute("SELECT default_port FROM protocols WHERE name = 'WireGuard'").fetchone() == (
            51821,
        )
        # Known, and too old to be shown as latest.
        assert conn.execute("SELECT count(*) FROM sonde.server_latest").fetchone() == (190,)
        assert conn.execute("SELECT count(*) FROM mv_server_latest_performance").fetchone() == (0,)
        assert conn.execute("SELECT sum(sample_count) FROM mv_server_daily_stats").fetchone() == (95_000,)
        partitions.keep_ahead(conn, every="month", ahead=2)
        conn.execute("INSERT INTO performance_logs (server_id, probe_id, ping_ms) VALUES (1, 1, 0.25)")
        conn.execute("INSERT INTO streaming_checks (server_id, platform_id, is_unlocked) VALUES (1, 1, true)")
        with pytest.raises(errors.DatabaseError, match="nothing to adopt"):
            adopt(conn, dry_run=False, out=lines.append)
        with psycopg.connect(database_url) as fresh:
            mine, theirs = _shape(conn), _shape(fresh)
        for what in mine:
            assert mine[what] == theirs[what], what


def test_time_zone_and_grants(empty_database_url: str) -> None:
    """A database of another time zone keeps its instants and is UTC then; the views keep their readers."""
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        conn.execute(f"ALTER DATABASE {conn.info.dbname} SET timezone = 'America/New_York'".encode())
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        _seed(conn, runs=20, checks=2)
        conn.execute("GRANT SELECT ON mv_server_daily_stats TO PUBLIC")
        before = conn.execute(
            "SELECT min(measured_at), max(measured_at), count(*) FROM performance_logs"
        ).fetchone()
        adopt(conn, dry_run=False, out=lambda _: None)
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        check(conn)
        after = conn.execute(
            "SELECT min(measured_at), max(measured_at), count(*) FROM performance_logs"
        ).fetchone()
        assert after == before
        grants = "SELECT has_table_privilege('public', %s::regclass, 'SELECT')"
        assert conn.execute(grants, ("mv_server_daily_stats",)).fetchone() == (True,)
        assert conn.execute(grants, ("mv_server_latest_performance",)).fetchone() == (False,)
        # The seed's partitions end at midnight in New York: only what lacks is made.
        at = dt.datetime(2026, 2, 20, tzinfo=dt.UTC)
        made = partitions.ensure(conn, "performance_logs", at, at + dt.timedelta(days=10))
        assert made == ["performance_logs_2026_03_01t0500"]


def test_a_busy_table_is_waited_for(empty_database_url: str) -> None:
    """An open write delays adoption without being harmed; it goes on when the writer commits."""
    lines: list[str] = []
    with (
        psycopg.connect(empty_database_url, autocommit=True) as conn,
        psycopg.connect(empty_database_url) as writer,
    ):
        _seed(conn, runs=2, checks=1)
        writer.execute("INSERT INTO streaming_checks VALUES (1, 1, '2026-01-01', true, 5)")
        thread = threading.Thread(target=lambda: adopt(conn, dry_run=False, out=lines.append))
        thread.start()
        deadline = time.monotonic() + 30
        while not any("trying again" in line for line in lines):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        writer.commit()
        thread.join(60)
        assert lines[-1].startswith("Adopted in")
        assert conn.execute(
            "SELECT count(*) FROM streaming_checks WHERE checked_at = '2026-01-01'"
        ).fetchone() == (1,)


def test_what_differs_is_named(empty_database_url: str) -> None:
    """Tables that are not the seed's, and views of others, are all named at once, and nothing is changed."""
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        _seed(conn, runs=2, checks=1)
        conn.execute("CREATE VIEW mine AS SELECT ping_ms FROM performance_logs")
        conn.execute("ALTER TABLE streaming_checks ALTER response_time_ms TYPE int")
        with pytest.raises(errors.DatabaseError) as caught:
            adopt(conn, dry_run=False, out=print)
        assert "view mine" in str(caught.value)
        assert "streaming_checks.response_time_ms is integer, not smallint" in str(caught.value)
        assert conn.execute("SELECT to_regnamespace('sonde')").fetchone() == (None,)


def test_an_empty_database_is_not_adopted(empty_database_url: str) -> None:
    """Where nothing is to adopt, plain `migrate` is named."""
    with psycopg.connect(empty_database_url, autocommit=True) as conn, pytest.raises(errors.SchemaMissing):
        adopt(conn, dry_run=False, out=print)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_five_million_rows(empty_database_url: str) -> None:
    """Five million rows are adopted, and the estimate is not below half the truth."""
    lines: list[str] = []
    with psycopg.connect(empty_database_url, autocommit=True) as conn:
        _seed(conn, runs=26_316, checks=300)
        before = _rows(conn)
        assert before["performance_logs"][0] >= 5_000_000  # type: ignore[index]
        adopt(conn, dry_run=False, out=lines.append)
        assert _rows(conn) == before
    took = float(lines[-1].split()[2])
    estimate = float(next(line for line in lines if "locked for about" in line).split()[-2])
    print(f"estimate {estimate} s, took {took} s")  # noqa: T201 (the figure is what a soak is read for)
    assert estimate > took / 2
