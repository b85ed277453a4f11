"""Partitions are made apart and attached: ahead, for late data, by two at once, and beside open writes."""

import datetime as dt
import itertools
import threading

import numpy as np
import psycopg
import pytest

from sonde_collector.db import partitions

pytestmark = pytest.mark.postgres
NOW = dt.datetime(2026, 1, 20, 12, tzinfo=dt.UTC)


def _connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url, autocommit=True)


def _inventory(conn: psycopg.Connection) -> None:
    conn.execute(
        """INSERT INTO countries (iso_code, name) VALUES ('DE', 'Germany');
           INSERT INTO cities (country_id, name) VALUES (1, 'Berlin');
           INSERT INTO providers (name, slug) VALUES ('P', 'p');
           INSERT INTO servers (provider_id, city_id, hostname) VALUES (1, 1, 'a.example');
           INSERT INTO probe_locations (code) VALUES ('ber1')"""
    )


def _children(conn: psycopg.Connection, parent: str) -> list[str]:
    rows = conn.execute(
        "SELECT child::text FROM sonde.partition_ranges WHERE parent = %s::regclass ORDER BY lo", (parent,)
    )
    return [row[0] for row in rows]


def test_ahead_for_every_table(database_url: str) -> None:
    """Each table gets this month and the two next, and a second call makes nothing."""
    with _connect(database_url) as conn:
        made = partitions.keep_ahead(conn, every="month", ahead=2, now=NOW)
        assert len(made) == 3 * len(partitions.PARTITIONED)
        names = [f"performance_logs_2026_{month}" for month in ("01", "02", "03")]
        assert _children(conn, "performance_logs") == names
        assert partitions.keep_ahead(conn, every="month", ahead=2, now=NOW) == []


def test_the_list_is_the_schema(database_url: str) -> None:
    """PARTITIONED names exactly the tables that the schema partitions, with their columns."""
    with _connect(database_url) as conn:
        rows = conn.execute(
            """SELECT nspname || '.' || relname, attname FROM pg_partitioned_table
               JOIN pg_class c ON c.oid = partrelid JOIN pg_namespace n ON n.oid = relnamespace
               JOIN pg_attribute ON attrelid = partrelid AND attnum = partattrs[0]"""
        ).fetchall()
    assert sorted(rows) == sorted((each.table, each.column) for each in partitions.PARTITIONED)


def test_late_data_finds_its_place(database_url: str) -> None:
    """What coverage calls missing is covered after `ensure`, and the row then lands."""
    late = dt.datetime(2025, 11, 30, 23, 59, 59, 999999, tzinfo=dt.UTC)
    with _connect(database_url) as conn:
        _inventory(conn)
        times = np.array([int(late.timestamp()) * 1_000_000 + 999_999], dtype=np.int64)
        missing = partitions.covered(conn).missing("performance_logs", times)
        assert missing == [late]
        assert partitions.ensure(conn, "performance_logs", late, late) == ["performance_logs_2025_11"]
        assert partitions.covered(conn).missing("performance_logs", times) == []
        conn.execute(
            "INSERT INTO performance_logs (server_id, probe_id, measured_at, stream_id, seq) VALUES (1, 1, "
            "%s, 1, 1)",
            (late,),
        )
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            conn.execute(
                "INSERT INTO performance_logs (server_id, probe_id, measured_at) VALUES (9, 1, %s)", (late,)
            )


def test_a_partition_is_whole(database_url: str) -> None:
    """An attached partition has the parent's columns, keys and indexes, and no constraint more."""
    with _connect(database_url) as conn:
        for each in partitions.PARTITIONED:
            (child,) = partitions.ensure(conn, each.table, NOW, NOW)
            space = each.table.partition(".")[0]
            counts = conn.execute(
                """SELECT (SELECT array_agg(pg_get_constraintdef(oid) ORDER BY pg_get_constraintdef(oid))
                           FROM pg_constraint WHERE conrelid = t.oid AND contype <> 'n'),
                          (SELECT count(*) FROM pg_index WHERE indrelid = t.oid)
                   FROM (VALUES (%s::regclass), (%s::regclass)) AS t(oid)""",
                (each.table, f"{space}.{child}"),
            ).fetchall()
            assert counts[0] == counts[1]
            loose = conn.execute(
                """SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass
                   AND NOT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = indexrelid)""",
                (f"{space}.{child}",),
            ).fetchall()
            assert loose == []


def test_rhythms_mix(database_url: str) -> None:
    """After a change of rhythm the new partitions fill what the old ones leave, without overlap or gap."""
    with _connect(database_url) as conn:
        partitions.ensure(conn, "performance_logs", NOW, NOW, "month")
        end = dt.datetime(2026, 3, 15, tzinfo=dt.UTC)
        partitions.ensure(conn, "performance_logs", NOW, end, "week")
        partitions.ensure(conn, "performance_logs", NOW, end, "day")
        ranges = conn.execute(
            "SELECT lo, hi FROM sonde.partition_ranges WHERE parent = 'performance_logs'::regclass ORDER BY "
            "lo"
        ).fetchall()
        assert all(before[1] == after[0] for before, after in itertools.pairwise(ranges))
        assert ranges[0][0] == dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        assert ranges[-1][1] > end
        assert "performance_logs_2026_w06" in _children(conn, "performance_logs")
        assert "performance_logs_2026_02_01t0000" in _children(conn, "performance_logs")


def test_two_collectors_make_one_set(database_url: str) -> None:
    """Two that ask for the same at the same time make each partition once, and neither fails."""
    made: list[str] = []
    failures: list[Exception] = []

    def run() -> None:
        try:
            with _connect(database_url) as conn:
                made.extend(partitions.keep_ahead(conn, every="day", ahead=2, now=NOW))
        except Exception as error:  # noqa: BLE001 (shown by the assertion)
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(made) == len(set(made)) == 3 * len(partitions.PARTITIONED)


def test_an_open_write_is_not_held_up(database_url: str) -> None:
    """With a COPY's transaction open, `ensure` ends, and the writer goes on, also into the new one."""
    with _connect(database_url) as conn, psycopg.connect(database_url) as writer:
        _inventory(conn)
        partitions.ensure(conn, "performance_logs", NOW, NOW)
        statement = "COPY performance_logs (server_id, probe_id, measured_at, stream_id, seq) FROM STDIN"
        writer.execute("SELECT FROM servers WHERE id = 1 FOR KEY SHARE")
        with writer.cursor().copy(statement) as copy:
            copy.write_row((1, 1, NOW, 1, 1))
        conn.execute("SET statement_timeout = '5s'")
        later = NOW + dt.timedelta(days=31)
        assert partitions.ensure(conn, "performance_logs", later, later) == ["performance_logs_2026_02"]
        writer.execute("SET LOCAL lock_timeout = '2s'")
        with writer.cursor().copy(statement) as copy:
            copy.write_row((1, 1, NOW, 1, 2))
            copy.write_row((1, 1, later, 1, 3))
        writer.commit()
        assert conn.execute("SELECT count(*) FROM performance_logs").fetchone() == (3,)


def test_next_partition_by_cron(database_url: str) -> None:
    """create_next_partition() makes next month's, once, and bows to what the collector made."""
    with _connect(database_url) as conn:
        for _ in range(2):
            conn.execute("SELECT create_next_partition()")
        assert len(_children(conn, "performance_logs")) == 1
        partitions.keep_ahead(conn, every="week", ahead=8)
        conn.execute("SELECT create_next_partition()")
