"""`capacity` on a real database: what it foretells comes true."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.programs import run

from sonde_collector.db import partitions
from sonde_collector.db.queries import query

pytestmark = pytest.mark.postgres

DAYS, PER_DAY = 4, 15_000
TOLERANCE = 0.1
NOW = dt.datetime.now(dt.UTC)

INVENTORY = """
INSERT INTO countries (id, iso_code, name) VALUES (1, 'DE', 'Germany');
INSERT INTO cities (id, country_id, name) VALUES (1, 1, 'Berlin');
INSERT INTO probe_locations (id, code) VALUES (1, 'a'), (2, 'b');
INSERT INTO providers (id, name, slug) VALUES (1, 'P', 'p');
INSERT INTO servers (id, provider_id, city_id, hostname)
SELECT n, 1, 1, 'h' || n FROM generate_series(1, 50) AS n;
"""
FILL = """
INSERT INTO performance_logs (server_id, probe_id, measured_at, stream_id, seq, ping_ms, jitter_ms,
                              download_mbps, upload_mbps, packet_loss_pct, connection_success, protocol_id)
SELECT 1 + mod(n, 50), 1 + mod(n / 50, 2), %(until)s - n * (%(days)s::float8 / %(rows)s) * interval '1 day',
       1, n + %(from)s, 10 + random() * 90, random() * 5, random() * 900, random() * 90, random() * 3,
       random() > 0.1, 1
FROM generate_series(1, %(rows)s) AS n
"""
MARK = """
INSERT INTO sonde.dirty_marks
SELECT DISTINCT 'performance', date_trunc('hour', measured_at, 'UTC'), probe_id FROM performance_logs
"""


def _fill(url: str, until: dt.datetime, number: int) -> None:
    """Results of so many days before a time, and their rollups."""
    with psycopg.connect(url, autocommit=True) as conn:
        partitions.ensure(conn, "performance_logs", until - dt.timedelta(days=DAYS + 1), until)
        rows = DAYS * PER_DAY
        conn.execute(FILL.encode(), {"until": until, "days": DAYS, "rows": rows, "from": number * rows})
        conn.execute(MARK)
        for step in ("performance_hours", "performance_days"):
            while conn.execute(query("rollup_step"), {"step": step}).fetchone() != (0,):
                pass


def _capacity(config: Path, *options: str) -> dict[str, Any]:
    done = run("sonde-collector", "capacity", "--json", "--config", str(config), *options)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def _table(found: dict[str, Any], name: str) -> dict[str, Any]:
    (table,) = (table for table in found["tables"] if table["table"] == name)
    return dict(table)


@pytest.fixture
def config(database_url: str, tmp_path: Path) -> Path:
    """A collector.toml for a database with inventory."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(INVENTORY)
    file = tmp_path / "collector.toml"
    file.write_text(f'state_dir = "state"\n[database]\nurl = "{database_url}"\n')
    return file


def test_what_is_foretold_comes_true(config: Path, database_url: str) -> None:
    """Days of results foretell the bytes of as many more, raw and hourly, within a tenth."""
    _fill(database_url, NOW, 0)
    before = _capacity(config)
    assert before["measured_days"] == pytest.approx(DAYS, rel=0.05)
    raw = _table(before, "public.performance_logs")
    assert raw["measured"]["rows_per_day"] == pytest.approx(PER_DAY, rel=0.05)
    assert raw["kept_days"] == 30
    hourly = _table(before, "public.performance_logs_hourly")
    assert hourly["measured"]["rows_per_day"] == pytest.approx(24 * 100, rel=0.1)

    _fill(database_url, NOW - dt.timedelta(days=DAYS), 1)
    after = _capacity(config)
    for name in ("public.performance_logs", "public.performance_logs_hourly"):
        was, now = _table(before, name), _table(after, name)
        foretold = was["bytes"] + DAYS * was["measured"]["bytes_per_day"]
        assert now["bytes"] == pytest.approx(foretold, rel=TOLERANCE), name


@pytest.mark.usefixtures("config")
def test_estimated_rows_are_near_the_counted(database_url: str) -> None:
    """Where a table is too big to count, the planner's figure drawn out to its pages stands for it."""
    _fill(database_url, NOW, 0)
    with psycopg.connect(database_url, autocommit=True) as conn:
        # It could analyze in the midst of the second fill, and count pages whose rows are not committed yet.
        for (partition,) in conn.execute(
            "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'performance_logs'::regclass"
        ).fetchall():
            conn.execute(f"ALTER TABLE {partition} SET (autovacuum_enabled = false)".encode())
    statement = "SELECT sum(rows) FROM sonde.table_sizes(%s) WHERE parent = 'public.performance_logs'"
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("ANALYZE performance_logs")
        _fill(database_url, NOW - dt.timedelta(days=DAYS), 1)
        (estimated,) = conn.execute(statement, (0,)).fetchone() or (0,)
        (counted,) = conn.execute(statement, (2**40,)).fetchone() or (0,)
    assert counted == 2 * DAYS * PER_DAY
    assert float(estimated) == pytest.approx(float(counted), rel=0.05)


def test_the_disk_is_found_or_named(config: Path, tmp_path: Path) -> None:
    """A server on this host says where its data is, --disk names a path; a wrong one is a message."""
    found = _capacity(config)
    assert found["free_bytes"] > 0
    assert found["days_left"] == {"measured": None, "planned": None}
    assert _capacity(config, "--disk", str(tmp_path))["disk"] == str(tmp_path)
    done = run("sonde-collector", "capacity", "--config", str(config), "--disk", "/nowhere")
    assert (done.returncode, done.stderr) == (1, "sonde-collector: /nowhere: No such file or directory\n")
    said = run("sonde-collector", "capacity", "--config", str(config)).stdout
    assert "no results yet: sizes and rates are not known" in said
    assert "as measured: not known yet" in said
