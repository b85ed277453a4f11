"""The audit of the fault rounds can fail: it finds each kind of damage that a fault could do."""

import psycopg
import pytest
from support.books import balanced
from support.fleet import Fleet

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

ONE = "(SELECT stream_id, seq FROM performance_logs ORDER BY measured_at LIMIT 1)"
DAMAGE = {
    "a lost row": f"DELETE FROM performance_logs WHERE (stream_id, seq) IN {ONE}",
    "a row of another time": "UPDATE performance_logs SET measured_at = measured_at + interval '1 second' "
    f"WHERE (stream_id, seq) IN {ONE}",
    "a row twice": "INSERT INTO performance_logs SELECT (jsonb_populate_record(p, jsonb_build_object("
    "'measured_at', p.measured_at + interval '1 second'))).* "
    f"FROM performance_logs p WHERE (stream_id, seq) IN {ONE}",
    "a row of another server": "UPDATE performance_logs p SET server_id = "
    f"(SELECT min(id) FROM servers WHERE id <> p.server_id) WHERE (stream_id, seq) IN {ONE}",
    "a row in two tables": "INSERT INTO sonde.rejected_results (stream_id, seq, kind, target, measured_at, "
    f"reason, detail, result) SELECT stream_id, seq, 'performance', 's', now(), '', '', '' FROM {ONE} AS one",
    "a cursor that is ahead": "UPDATE sonde.streams SET acked_seq = acked_seq + 1",
    "a cursor that is behind": "UPDATE sonde.streams SET acked_seq = acked_seq - 1",
    "a gap over rows": "INSERT INTO sonde.gaps (stream_id, first_seq, last_seq, reason) "
    f"SELECT stream_id, seq, seq + 1, 'spool_full' FROM {ONE} AS one",
    "a stream that is gone": "UPDATE sonde.streams SET epoch = decode(md5(epoch::text), 'hex')",
    "rows without a stream": f"UPDATE performance_logs SET stream_id = 0 WHERE (stream_id, seq) IN {ONE}",
}


def _finds_something(fleet: Fleet) -> bool:
    try:
        fleet.audit()
    except AssertionError:
        return True
    return False


def test_every_damage_is_found(fleet: Fleet) -> None:
    """After a clean run the audit passes, and with any one row or cursor changed it does not."""
    assert balanced(fleet) > 100
    fleet.collectors[0].stop()
    clean = fleet.database
    for number, (name, statement) in enumerate(DAMAGE.items()):
        fleet.database = f"{clean}_{number}"
        url = fleet.server.create(fleet.database, clean)
        try:
            with psycopg.connect(url) as conn:
                assert conn.execute(statement).rowcount >= 1, f"{name}: nothing was damaged"
            assert _finds_something(fleet), f"the audit did not find {name}"
        finally:
            fleet.server.drop(fleet.database)
    fleet.database = clean
    fleet.audit()
