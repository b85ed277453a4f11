"""Troubles of the fleet begin and end once each, whatever the figures do between."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.maintain.fleet_watch import (
    MOST_A_DAY,
    Bounds,
    Disk,
    Trouble,
    of_agents,
    of_disk,
    of_limits,
    of_rules,
    seldom,
)

BOUNDS = Bounds(
    silent_s=300,
    clock_ms=1000,
    certificate_s=7 * 86_400,
    spool_s=3600,
    spool_bytes=1000,
    rejected=100,
    disk_share=0.1,
    disk_days=7,
)
WELL: dict[str, Any] = {
    "vantage": "ams1",
    "active": True,
    "silent_s": 3.0,
    "clock_offset_ms": 2.0,
    "lag_s": 0.0,
    "spool_bytes": 0,
    "paused": False,
    "rejected": 0,
    "certificate_left_s": 20 * 86_400.0,
    "certificate_life_s": 30 * 86_400.0,
}


def _agent(going_on: frozenset[str] = frozenset(), **values: Any) -> list[Trouble]:
    return of_agents([WELL | values], BOUNDS, going_on)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"silent_s": 300.0}, "agent_silent"),
        ({"clock_offset_ms": -1001.0}, "agent_clock"),
        ({"lag_s": 3601.0}, "agent_spool"),
        ({"certificate_left_s": 6.9 * 86_400}, "agent_certificate"),
        ({"certificate_left_s": -5.0}, "agent_certificate"),
        ({"certificate_left_s": 0.2 * 3600, "certificate_life_s": 3600.0}, "agent_certificate"),
        ({"spool_bytes": 1001}, "agent_spool"),
        ({"rejected": 100}, "results_rejected"),
    ],
)
def test_each_trouble_begins_once_and_ends_with_a_margin(values: dict[str, Any], kind: str) -> None:
    """Beyond its bound it begins, there it stays untold, and well again it ends."""
    (begun,) = _agent(**values)
    assert (begun.kind, begun.subject, begun.resolved) == (kind, "ams1", False)
    going_on = frozenset({begun.topic})
    assert _agent(going_on, **values) == []
    (ended,) = _agent(going_on)
    assert (ended.topic, ended.resolved, ended.severity) == (begun.topic, True, "info")


def test_a_silent_agents_last_words_are_no_news() -> None:
    """Of an agent that is silent nothing but its silence begins or ends."""
    last = {"clock_offset_ms": 9999.0, "lag_s": 9999.0, "silent_s": 400.0}
    assert [one.kind for one in _agent(**last)] == ["agent_silent"]
    going_on = frozenset({"agent_clock/ams1", "agent_silent/ams1", "agent_spool/ams1"})
    assert _agent(going_on, silent_s=400.0) == []


def test_a_paused_vantage_may_be_silent() -> None:
    """Nobody is told of its silence, clock or spool, and what was told ends; its certificate still counts."""
    away = {"silent_s": 9999.0, "clock_offset_ms": 9999.0, "lag_s": 9999.0, "spool_bytes": 10**12}
    assert _agent(paused=True, **away) == []
    (ended,) = _agent(frozenset({"agent_silent/ams1"}), paused=True, **away)
    assert (ended.kind, ended.resolved) == ("agent_silent", True)
    (bad,) = _agent(paused=True, **away, certificate_left_s=60.0, certificate_life_s=3e6)
    assert bad.kind == "agent_certificate"


def test_one_that_left_or_never_came_is_no_trouble() -> None:
    """A deactivated vantage ends what went on; one that was never heard begins nothing."""
    going_on = frozenset({"agent_silent/ams1"})
    (ended,) = _agent(going_on, active=False, silent_s=9999.0)
    assert ended.resolved
    assert _agent(active=False, silent_s=9999.0, rejected=1000) == []
    assert _agent(silent_s=None, clock_offset_ms=None, lag_s=0.0, spool_bytes=None) == []


def test_a_figure_within_its_margin_changes_nothing() -> None:
    """Between well and bad all stays as it is, so that a swinging clock is not told at each swing."""
    assert _agent(clock_offset_ms=800.0) == []
    assert _agent(frozenset({"agent_clock/ams1"}), clock_offset_ms=800.0) == []


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "silent_s": st.floats(0, 1000),
                "clock_offset_ms": st.none() | st.floats(-3000, 3000),
                "lag_s": st.floats(0, 9000),
                "spool_bytes": st.integers(0, 3000),
                "paused": st.booleans(),
                "rejected": st.integers(0, 300),
                "active": st.booleans(),
                "certificate_left_s": st.none() | st.floats(-3e6, 3e6),
                "certificate_life_s": st.floats(1, 3e6),
            }
        ),
        max_size=30,
    )
)
def test_beginnings_and_ends_alternate(turns: list[dict[str, Any]]) -> None:
    """Whatever comes, no topic begins twice without an end, and none ends without a beginning."""
    going_on: set[str] = set()
    for turn in turns:
        for one in of_agents([{"vantage": "ams1", **turn}], BOUNDS, frozenset(going_on)):
            assert one.resolved == (one.topic in going_on)
            going_on ^= {one.topic}


def _disk(free: float, *, began: float | None = None, hours: float = 0.0) -> Disk:
    first = [] if began is None else [(0.0, began)]
    return Disk("host", "/state", [*first, (hours * 3600, free)], 100e9)


def test_a_disk_is_low_by_its_share_or_by_its_days() -> None:
    """Little free, or soon none: it is told; how soon is said only after hours of watching."""
    (low,) = of_disk(_disk(9e9), BOUNDS, frozenset())
    assert (low.kind, low.subject, low.severity) == ("disk_low", "host", "critical")
    assert "9 GB (9.0%)" in low.detail
    assert of_disk(_disk(50e9, began=60e9, hours=5), BOUNDS, frozenset()) == []
    (soon,) = of_disk(_disk(50e9, began=60e9, hours=24), BOUNDS, frozenset())
    assert "ends in 5.0 days" in soon.detail
    assert of_disk(_disk(50e9, began=50e9, hours=24), BOUNDS, frozenset()) == []


def test_a_disk_is_well_again_with_a_margin() -> None:
    """Just above its bound it stays low; with a fifth more it is well."""
    going_on = frozenset({"disk_low/host"})
    assert of_disk(_disk(11e9), BOUNDS, going_on) == []
    (well,) = of_disk(_disk(13e9), BOUNDS, going_on)
    assert well.resolved


@pytest.mark.parametrize(
    ("state", "going_on", "told"),
    [
        ("stale", False, [("rule_stale", "warning", False)]),
        ("stale", True, []),
        ("unknown", True, []),
        ("unknown", False, []),
        ("fine", True, [("rule_stale", "info", True)]),
        ("fine", False, []),
        (None, True, [("rule_stale", "info", True)]),
        (None, False, []),
    ],
)
def test_a_stale_rule_begins_and_ends_once(
    state: str | None, told: list[tuple[str, str, bool]], *, going_on: bool
) -> None:
    """It ends when a canary knows better, or when no canary uses the version; one doubt changes nothing."""
    rows = [
        {
            "platform": "netflix",
            "name": "Netflix",
            "version": "1",
            "state": state,
            "vantages": 2,
            "doubting": 2,
        }
    ]
    topics = frozenset({"rule_stale/netflix@1"} if going_on else ())
    made = of_rules(rows if state else [], topics | {"agent_silent/ams1"})
    assert [(one.kind, one.severity, one.resolved) for one in made] == told
    assert {one.topic for one in made} <= {"rule_stale/netflix@1"}


def test_a_vantage_that_meets_limits_is_told_until_it_does_not() -> None:
    """It begins with the limits' words, stays untold, and ends when no row names it; others are left."""
    rows = [{"vantage": "ams1", "met": "ams1 sends more results than may be"}]
    (begun,) = of_limits(rows, frozenset())
    assert (begun.topic, begun.severity, begun.resolved) == ("agent_limited/ams1", "warning", False)
    assert "sends more results" in begun.detail
    assert "agents revoke ams1" in begun.detail
    going_on = frozenset({begun.topic, "agent_clock/lon1"})
    assert of_limits(rows, going_on) == []
    (ended,) = of_limits([], going_on)
    assert (ended.topic, ended.resolved) == (begun.topic, True)


@given(st.integers(0, 100))
def test_what_swings_all_day_is_told_so_often_and_no_more(swings: int) -> None:
    """Each beginning is told up to the last, which says so; whatever began ends once."""
    told: list[Trouble] = []
    going_on: set[str] = set()
    for swing in range(2 * swings):
        begun = sum(not one.resolved for one in told)
        now = _agent(frozenset(going_on), clock_offset_ms=5000.0 if swing % 2 == 0 else 0.0)
        now = seldom(now, {"agent_clock/ams1": begun})
        going_on ^= {one.topic for one in now}
        told += now
    beginnings = [one for one in told if not one.resolved]
    assert len(beginnings) == min(swings, MOST_A_DAY)
    assert [("not told again" in one.detail) for one in beginnings] == [
        number == MOST_A_DAY for number in range(1, len(beginnings) + 1)
    ]
    assert len(told) == 2 * len(beginnings)
