"""The write transaction against a real PostgreSQL: what is committed, trimmed, rejected, held."""

import threading
from collections.abc import Iterator

import psycopg
import pytest
from support.builders import (
    Spool,
    arrive,
    endpoint,
    health,
    inventory,
    missed,
    now_us,
    performance,
    stream_of,
)
from support.ingest import connection, expected, stored, write_once

from sonde_collector.ingest.cursors import Refused
from sonde_collector.ingest.prepared import prepare
from sonde_collector.ingest.settings import IngestSettings
from sonde_collector.ingest.transaction import write
from sonde_proto.quality import Quality
from sonde_proto.v1 import ingest_pb2, results_pb2

pytestmark = pytest.mark.postgres
BOTH = pytest.mark.parametrize("fk", ["row", "batch"])
DAY_US = 86_400_000_000


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A database with one vantage, server and target."""
    with connection(database_url) as conn:
        inventory(conn)
        yield conn


def count(conn: psycopg.Connection, table: str) -> int:
    """Rows of a table."""
    row = conn.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def rejects(conn: psycopg.Connection) -> list[tuple[int, str, str]]:
    """(seq, reason, detail) of what was rejected."""
    return conn.execute("SELECT seq, reason, detail FROM sonde.rejected_results ORDER BY seq").fetchall()


@BOTH
def test_every_kind_reaches_its_table(conn: psycopg.Connection, fk: str) -> None:
    """One batch of all kinds lands in all tables, values and words as measured."""
    spool = Spool()
    stream_of(conn, spool)
    at = now_us() // 1000 * 1000
    write_once(
        conn,
        [
            spool.batch(
                [
                    performance(
                        at_us=at, ping_ms=0.25, download_mbps=99_999.99, packet_loss_pct=33.33,
                        protocol="WireGuard",
                        family=6, failure=results_pb2.FAILURE_TIMEOUT, stage=results_pb2.STAGE_TRANSPORT,
                    ),
                    performance(at_us=at, quality=Quality.NOT_READY),
                    endpoint(at_us=at, answers="ä" * 300, pop="AMS", family=4, body_bytes=2**40,
                             cert_not_after_us=at),
                    endpoint(at_us=at, failure=results_pb2.FAILURE_NONE),
                    health(at_us=at, ready=False, reason="clock is off", clock_offset_ms=-5.5),
                    missed("s1", at_us=at),
                ]
            )
        ],
        fk=fk,
    )  # fmt: skip
    assert conn.execute(
        "SELECT ping_ms, download_mbps::text, packet_loss_pct::text, protocol_id, family, failure, stage,"
        " quality,"
        " extract(epoch FROM measured_at) * 1000000 FROM performance_logs"
    ).fetchall() == [(0.25, "99999.99", "33.33", 1, 6, "timeout", "transport", 0, at)]
    assert conn.execute("SELECT seq, held_because FROM sonde.performance_held").fetchall() == [
        (2, "vantage not ready")
    ]
    assert conn.execute(
        "SELECT kind, answers, pop, family, body_bytes, failure FROM sonde.endpoint_checks ORDER BY seq"
    ).fetchall() == [("http", "ä" * 300, "AMS", 4, 2**40, None), ("http", None, None, None, None, None)]
    assert conn.execute("SELECT ready, reason, clock_offset_ms FROM sonde.vantage_health").fetchall() == [
        (False, "clock is off", -5.5)
    ]
    assert conn.execute("SELECT task, target, reason, slots FROM sonde.missed_runs").fetchall() == [
        ("p/s1", "s1", "late", 3)
    ]
    marks = conn.execute(
        "SELECT DISTINCT series, extract(epoch FROM hour) * 1000000 FROM sonde.dirty_marks"
    ).fetchall()
    assert sorted(marks) == [
        (series, at // 3_600_000_000 * 3_600_000_000) for series in ("endpoint", "performance")
    ]
    assert stored(conn) == expected(spool)


@BOTH
def test_a_replayed_batch_changes_nothing(conn: psycopg.Connection, fk: str) -> None:
    """The same batch again is trimmed to nothing and acked with the cursor."""
    spool = Spool()
    stream_of(conn, spool)
    batch = spool.batch([performance(), ingest_pb2.GAP_REASON_CORRUPT, performance("nowhere"), health()])
    write_once(conn, [batch], fk=fk)
    before = stored(conn), count(conn, "sonde.batches"), count(conn, "sonde.dirty_marks")
    outcome = write_once(conn, [batch], fk=fk)
    assert (outcome.rows, outcome.trimmed, outcome.rejected) == (0, 3, {})
    assert outcome.settled[0].refusal is None
    assert outcome.settled[0].acked_seq == 4
    assert outcome.settled[0].chain == spool.chain
    assert (stored(conn), count(conn, "sonde.batches"), count(conn, "sonde.dirty_marks")) == before


def test_a_batch_across_the_cursor_is_trimmed(conn: psycopg.Connection) -> None:
    """Of a batch that begins below the cursor only what lies above it is written, its gap cut too."""
    spool = Spool()
    stream_of(conn, spool)
    results = [performance() for _ in range(4)]
    write_once(conn, [spool.batch(results)])
    again = Spool()
    again.epoch = spool.epoch
    lost = [ingest_pb2.GAP_REASON_SPOOL_FULL]
    batch = again.batch([*results, *lost, performance()])
    del batch.gaps[:]
    batch.gaps.append(ingest_pb2.Gap(first_seq=5, last_seq=5, reason=ingest_pb2.GAP_REASON_SPOOL_FULL))
    outcome = write_once(conn, [batch])
    assert (outcome.rows, outcome.trimmed) == (1, 4)
    assert stored(conn) == expected(again)
    assert conn.execute(
        "SELECT first_seq, last_seq, trimmed, rows FROM sonde.batches ORDER BY 1"
    ).fetchall() == [
        (1, 4, 0, 4),
        (5, 6, 4, 1),
    ]


def test_a_gap_is_committed_with_the_jump(conn: psycopg.Connection) -> None:
    """A batch may begin with a gap; its range, count and reason become a row."""
    spool = Spool()
    stream_of(conn, spool)
    lost = ingest_pb2.GAP_REASON_TOO_OLD
    write_once(conn, [spool.batch([lost, performance()]), spool.batch([lost])])
    assert conn.execute(
        "SELECT first_seq, last_seq, results, reason FROM sonde.gaps ORDER BY 1"
    ).fetchall() == [
        (1, 1, 1, "too_old"),
        (3, 3, 1, "too_old"),
    ]
    assert stored(conn) == expected(spool)


def test_a_fenced_batch_is_not_written(conn: psycopg.Connection) -> None:
    """A batch of a connection that another took over from is refused, its neighbours are written."""
    old, other = Spool(), Spool()
    stream_of(conn, old)
    stream_of(conn, other)
    conn.execute("UPDATE sonde.streams SET session = 2 WHERE epoch = %s", (old.epoch,))
    outcome = write_once(conn, [old.batch([performance()]), other.batch([performance()])])
    first, second = outcome.settled
    assert first.refusal is not None
    assert first.refusal.why is Refused.FENCED
    assert second.refusal is None
    assert stored(conn) == expected(other)


def test_a_hole_is_out_of_range(conn: psycopg.Connection) -> None:
    """A batch that does not follow the cursor is refused, and so is what follows it."""
    spool = Spool()
    stream_of(conn, spool)
    spool.batch([performance()])
    outcome = write_once(conn, [spool.batch([performance()]), spool.batch([performance()])])
    assert [s.refusal.why for s in outcome.settled if s.refusal] == [Refused.OUT_OF_RANGE] * 2
    assert stored(conn) == []


@BOTH
def test_bad_rows_cost_no_good_one(conn: psycopg.Connection, fk: str) -> None:
    """Among 5 000 good rows each bad one becomes a reject with its reason and its bytes."""
    spool = Spool()
    stream_of(conn, spool)
    bad = [
        (performance(ping_ms=float("inf")), "not_finite"),
        (performance(packet_loss_pct=100.5), "out_of_range"),
        (performance(download_mbps=100_000), "out_of_range"),
        (performance(at_us=0), "too_old"),
        (performance(at_us=now_us() + 366 * 973 * DAY_US), "from_the_future"),
        (performance("nowhere"), "unknown_target"),
        (performance(protocol="Telepathy"), "unknown_protocol"),
        (performance("nul\0byte"), "text_has_nul"),
        (endpoint(kind=0), "unknown_enum"),
        (endpoint(pop="x" * 300), "text_too_long"),
    ]
    results = [performance() for _ in range(5000)]
    for place, (result, _) in enumerate(bad):
        results.insert(place * 400, result)
    write_once(conn, [spool.batch(results)], fk=fk)
    assert count(conn, "performance_logs") == 5000
    found = rejects(conn)
    assert [reason for _, reason, _ in found] == [reason for _, reason in bad]
    assert all(detail for _, _, detail in found)
    raw = conn.execute("SELECT result FROM sonde.rejected_results ORDER BY seq LIMIT 1").fetchone()
    assert raw is not None
    assert results_pb2.Result.FromString(raw[0]) == bad[0][0]
    assert stored(conn) == expected(spool)


@BOTH
def test_a_row_that_only_the_database_refuses_is_found(conn: psycopg.Connection, fk: str) -> None:
    """A constraint that we know nothing of costs the rows that break it, and no other."""
    conn.execute("ALTER TABLE performance_logs ADD CONSTRAINT house_rule CHECK (ping_ms <> 666)")
    spool = Spool()
    stream_of(conn, spool)
    results = [performance() for _ in range(500)]
    results[77].performance.ping_ms = results[400].performance.ping_ms = 666
    batch = spool.batch(results)
    with pytest.raises(psycopg.IntegrityError):
        write_once(conn, [batch], fk=fk)
    assert stored(conn) == []
    write_once(conn, [batch], fk=fk, careful=True)
    assert count(conn, "performance_logs") == 498
    assert [(seq, reason) for seq, reason, _ in rejects(conn)] == [
        (78, "refused_by_database"),
        (401, "refused_by_database"),
    ]
    assert "23514" in rejects(conn)[0][2]
    assert stored(conn) == expected(spool)


@BOTH
def test_a_parent_that_is_being_deleted_leaves_no_orphan(database_url: str, fk: str) -> None:
    """A server deleted before the write is unknown; one deleted during it can't go while its rows come."""
    with connection(database_url) as conn, connection(database_url) as other:
        inventory(conn, servers=["s1", "s2"])
        spool = Spool()
        stream_of(conn, spool)
        deleted = threading.Event()

        def delete() -> None:
            with other.transaction():
                other.execute("DELETE FROM servers WHERE hostname = 's1'")
                deleted.set()
                # Committed only when the writer waits for this row, so that the two surely meet.
                while not count_waiting(conn.info.backend_pid, other):
                    pass

        thread = threading.Thread(target=delete)
        batch = spool.batch([performance("s1"), performance("s2")])
        prepared = prepare([arrive(batch)], IngestSettings())
        write_once(conn, [])  # makes the partitions
        thread.start()
        assert deleted.wait(10)
        write(conn, prepared, by_row=fk == "row")
        thread.join()
        assert [(seq, reason) for seq, reason, _ in rejects(conn)] == [(1, "unknown_target")]
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            other.execute("DELETE FROM servers WHERE hostname = 's2'")
        assert stored(conn) == expected(spool)


def count_waiting(pid: int, conn: psycopg.Connection) -> bool:
    """Whether that backend waits for a lock."""
    row = conn.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", (pid,)).fetchone()
    assert row is not None
    return bool(row[0])


@BOTH
def test_re_made_ids_do_not_misattribute(conn: psycopg.Connection, fk: str) -> None:
    """A spooled result names its server by key: where the id became another's, it still finds it."""
    spool = Spool()
    stream_of(conn, spool)
    batch = spool.batch([performance("s1")])
    conn.execute("TRUNCATE servers CASCADE")
    conn.execute("ALTER SEQUENCE servers_id_seq RESTART")
    conn.execute(
        "WITH made AS (INSERT INTO servers (provider_id, city_id, hostname)"
        " SELECT p.id, c.id, k FROM unnest(ARRAY['another', 's1']) k, cities c, providers p"
        " RETURNING id, hostname)"
        " INSERT INTO sonde.server_keys (key, server_id) SELECT hostname, id FROM made"
    )
    write_once(conn, [batch], fk=fk)
    assert conn.execute(
        "SELECT hostname FROM performance_logs JOIN servers ON id = server_id"
    ).fetchall() == [("s1",)]


def test_a_missing_partition_rejects_nothing(conn: psycopg.Connection) -> None:
    """A row without a partition fails the whole write, however careful, so that it can be tried again."""
    spool = Spool()
    stream_of(conn, spool)
    late = now_us() - 20 * DAY_US
    prepared = prepare([arrive(spool.batch([performance(at_us=late)]))], IngestSettings())
    for careful in (False, True):
        with pytest.raises(psycopg.errors.CheckViolation):
            write(conn, prepared, by_row=True, careful=careful)
    assert stored(conn) == []


def test_a_spool_that_went_its_own_way_is_refused(conn: psycopg.Connection) -> None:
    """A batch that ends at the cursor with another chain is a copy's."""
    spool = Spool()
    stream_of(conn, spool)
    write_once(conn, [spool.batch([performance()])])
    clone = Spool()
    clone.epoch = spool.epoch
    (settled,) = write_once(conn, [clone.batch([performance(ping_ms=1)])]).settled
    assert settled.refusal is not None
    assert settled.refusal.why is Refused.DIVERGED
