"""Folding: the newest verdicts of each series, in whatever order and however often they come."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.health.entries import (
    VERDICT,
    Verdicts,
    family_of,
    fold,
    pack,
    protocol_of,
    server_series,
    target_series,
    unpack,
)

_ROWS = st.lists(
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(0, 30)),
    max_size=60,
    unique=True,
)


def verdicts(rows: list[tuple[int, int, int, int]]) -> Verdicts:
    """Verdicts of (object, vantage, series, time); whether they are well follows from these."""
    return np.array(
        [(one, probe, series, at, sum((one, at)) % 2, 0, 0, 1.0) for one, probe, series, at in rows], VERDICT
    )


@given(_ROWS, st.integers(1, 5), st.data())
def test_any_order(rows: list[tuple[int, int, int, int]], keep: int, data: st.DataObject) -> None:
    """Pieces in any order, with doubles, give what the whole gives at once."""
    whole = fold(verdicts([]), verdicts(rows), lambda _: keep)
    shuffled = data.draw(st.permutations(rows))
    folded = verdicts([])
    while shuffled:
        size = data.draw(st.integers(1, len(shuffled)))
        doubled = shuffled[: data.draw(st.integers(0, size))]
        folded = fold(folded, verdicts([*shuffled[:size], *doubled]), lambda _: keep)
        shuffled = shuffled[size:]
    assert folded.tolist() == whole.tolist()
    wanted = sorted(row for row in rows if sum(row[:3] == one[:3] and one[3] > row[3] for one in rows) < keep)
    assert [tuple(row)[:4] for row in whole.tolist()] == wanted


@given(_ROWS)
def test_packing(rows: list[tuple[int, int, int, int]]) -> None:
    """What is packed comes back, piece after piece."""
    made = verdicts(rows)
    assert unpack([pack(made[:2]), pack(made[2:])]).tolist() == made.tolist()


def test_series() -> None:
    """A series tells its protocol and family."""
    assert [protocol_of(server_series(7, 6)), family_of(server_series(7, 6))] == [7, 6]
    assert family_of(target_series(0xFFFF_FFFF, 4)) == 4
    assert 0 <= target_series(0xFFFF_FFFF, 4) < 1 << 31
