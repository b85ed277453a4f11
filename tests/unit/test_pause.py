"""An operator's pause: when it holds, and the one row of what it held back."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.missed_rows import ALL_TASKS
from sonde_agent.pause import ROW_EVERY_US, Pausing
from sonde_proto.v1 import control_pb2, results_pb2

NOW_US = 1_800_000_000_000_000


def test_it_holds_until_its_time_or_without_one() -> None:
    """A pause with a time ends by itself, one without never; its reason is told."""
    pausing = Pausing()
    assert pausing.reason(NOW_US) == ""
    pausing.pause = control_pb2.Pause(until_us=NOW_US, reason="new uplink")
    assert pausing.reason(NOW_US - 1) == "new uplink"
    assert pausing.reason(NOW_US) == ""
    pausing.pause = control_pb2.Pause()
    assert pausing.reason(NOW_US * 2) == "paused"


@given(st.lists(st.tuples(st.integers(1, 900), st.integers(1, 50), st.booleans()), max_size=60))
def test_every_slot_is_in_one_row(turns: list[tuple[int, int, bool]]) -> None:
    """Rows hold all slots that were held back, each once, in order; one row an hour and pause at most."""
    pausing, now, held, pauses = Pausing(), NOW_US, 0, 0
    rows: list[Any] = []
    for seconds, slots, paused in turns:
        now += seconds * 1_000_000
        if paused and pausing.pause is None:
            pauses += 1
        pausing.pause = control_pb2.Pause() if paused else None
        if paused:
            pausing.hold_back(slots, now, now)
            held += slots
        rows.append(pausing.row(now))
    rows = [row for row in (*rows, pausing.row(now, last=True)) if row is not None]
    assert sum(row.missed.slots for row in rows) == held
    assert {row.missed.task for row in rows} <= {ALL_TASKS}
    assert {row.missed.reason for row in rows} <= {results_pb2.MISS_REASON_PAUSED}
    times = [moment for row in rows for moment in (row.measured_at_us, row.missed.until_us)]
    assert times == sorted(times)
    assert len(rows) <= pauses + (now - NOW_US) // ROW_EVERY_US + 1
