"""Accounts of vantages: each has its own, results are slowed and calls refused, and both are told."""

import attrs

from sonde_collector.config import Limits
from sonde_collector.limits.vantages import SHARE_BYTES, STREAM, WORD, Vantages

SMALL = attrs.evolve(Limits(), rows=10, rows_ahead=10_000, calls=1, calls_ahead=100, streams=4)


def _vantages() -> tuple[Vantages, list[tuple[str, str]]]:
    vantages, met = Vantages(SMALL), []
    vantages.met = lambda vantage, limit, _: met.append((vantage, limit))
    return vantages, met


def test_results_wait_for_their_own_vantage_alone() -> None:
    """Who sent more than it holds waits for the debt, at its rate; another does not."""
    vantages, met = _vantages()
    vantages.take_in("a", 10_000, 100, 0.0)
    assert vantages.wait_s("a", 0.0) == 0
    vantages.take_in("a", 1000, 100, 0.0)
    assert vantages.wait_s("a", 0.0) == 100
    assert vantages.wait_s("b", 0.0) == 0
    assert vantages.wait_s("a", 100.0) == 0
    assert met == [("a", "rows")]


def test_bytes_hold_up_as_rows_do() -> None:
    """Few large results wait for their bytes."""
    vantages, met = _vantages()
    vantages.take_in("a", 1, SMALL.bytes_ahead + 5 * SMALL.bytes, 0.0)
    assert vantages.wait_s("a", 0.0) == 5
    assert met == [("a", "bytes")]


def test_memory_is_shared() -> None:
    """A vantage with its share in memory is not read until some of it is settled."""
    vantages, _ = _vantages()
    assert not vantages.crowded("a")
    vantages.take_in("a", 1, SHARE_BYTES - 1, 0.0)
    assert not vantages.crowded("a")
    vantages.take_in("a", 1, 1, 0.0)
    assert vantages.crowded("a")
    assert not vantages.crowded("b")
    vantages.settle("a", 1)
    vantages.settle("c", 1)
    assert not vantages.crowded("a")


def test_calls_that_stay_are_counted_and_given_back() -> None:
    """Only so many at once; short calls go on; one that leaves makes room."""
    vantages, met = _vantages()
    assert [vantages.enter("a", STREAM, 0.0) for _ in range(4)] == [None] * 4
    refused = vantages.enter("a", STREAM, 0.0)
    assert refused is not None
    assert "4 streams open" in refused
    assert vantages.enter("b", STREAM, 0.0) is None
    assert vantages.enter("a", WORD, 0.0) is None
    vantages.leave("a", WORD)
    assert vantages.enter("a", STREAM, 0.0) is not None
    vantages.leave("a", STREAM)
    assert vantages.enter("a", STREAM, 0.0) is None
    assert met == [("a", "streams")] * 2


def test_calls_are_refused_and_words_are_slowed() -> None:
    """What was refused took nothing; a word that was said is waited for."""
    vantages, met = _vantages()
    for _ in range(100):
        assert vantages.enter("a", WORD, 0.0) is None
    assert vantages.enter("a", WORD, 0.0) is not None
    assert vantages.enter("a", WORD, 1.0) is None
    assert vantages.hear("a", 1.0) == 1.0
    assert vantages.hear("a", 3.0) == 0.0
    assert met == [("a", "calls")] * 2


def test_who_has_spent_a_quota_is_looked_for_once() -> None:
    """Streams are looked over when the names change, not at each reading."""
    vantages, _ = _vantages()
    looks: list[int] = []
    vantages.on_spent = lambda: looks.append(1)
    vantages.learn({})
    vantages.learn({"a": "1 MB"})
    vantages.learn({"a": "2 MB"})
    assert (len(looks), vantages.spent) == (1, {"a": "2 MB"})
    vantages.learn({})
    assert len(looks) == 2
