"""Results that can't be rows, in a real agent's spool, among thousands that can."""

import pytest
from support.books import balanced, current, events, rows
from support.builders import endpoint, missed, now_us, performance
from support.fleet import Fleet

from sonde_agent.spool import Spool

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

DAY_S = 86_400.0
YEAR_2999_US = 32_472_144_000_000_000
POISON = (
    (performance("nowhere"), "unknown_target", "add it to fleet.toml and apply"),
    (endpoint("nowhere"), "unknown_target", "add it to fleet.toml and apply"),
    (performance("s1", at_us=1), "too_old", "check the vantage's clock"),
    (performance("s1", at_us=YEAR_2999_US), "from_the_future", "check the vantage's clock"),
    (performance("s1", ping_ms=float("inf")), "not_finite", "ping_ms"),
    (performance("s1", ping_ms=-1.0), "out_of_range", "ping_ms"),
    (performance("s1", protocol="Telepathy"), "unknown_protocol", "Telepathy"),
    (missed(until_us=2**62), "out_of_range", "until_us"),
)


def test_poison_among_thousands_costs_no_good_row(fleet: Fleet) -> None:
    """Each bad result is set aside with reason, advice and bytes; the 5 000 around it are rows."""
    agent = fleet.agents[0]
    agent.program.stop()
    first = current(agent).highest + 1
    results = [performance("s1") for _ in range(5000)]
    for place, (bad, _, _) in enumerate(POISON):
        results.insert(100 + place * 600, bad)
    results.insert(
        700, performance("s2", ping_ms=float("nan"))
    )  # not a number is not measured: a row with NULL
    spool = Spool.open(agent.spool, max_bytes=64 << 20, max_age_s=14 * DAY_S, history_s=2 * DAY_S)
    spool.append(results)
    spool.close()
    before = now_us()
    agent.program.start()
    balanced(fleet)
    found = rows(
        fleet,
        "SELECT reason, detail, result FROM sonde.rejected_results r "
        "JOIN sonde.streams s ON s.id = r.stream_id WHERE s.epoch = %s AND seq >= %s ORDER BY seq",
        current(agent).epoch,
        first,
    )
    assert [reason for reason, _, _ in found] == [reason for _, reason, _ in POISON]
    for (bad, _, hint), (_, detail, kept) in zip(POISON, found, strict=True):
        assert hint in detail
        assert bytes(kept) == bad.SerializeToString()
    query = (
        "SELECT count(*) FROM performance_logs WHERE seq BETWEEN %s AND %s AND measured_at < to_timestamp(%s)"
    )
    ((good,),) = rows(fleet, query, first, first + len(results) - 1, before / 1e6)
    assert good >= 5001
    assert not events(agent.program, "result_quarantined")
