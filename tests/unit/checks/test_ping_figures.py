"""The figures of a ping run: golden vectors, one a situation, and properties against brute force."""

import json
import math
import statistics
from pathlib import Path

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.checks.ping.check import performance_of
from sonde_agent.checks.ping.pure import percentile, summarise
from sonde_agent.net.icmp import Echoes, IcmpError
from sonde_proto.v1 import control_pb2

GOLDEN = Path(__file__).parents[2] / "golden" / "ping"
NS = 1_000_000
RTTS = st.lists(st.none() | st.integers(1, 3000 * NS), min_size=1, max_size=40)


def echoes_of(case: dict) -> Echoes:
    """The run that a golden input describes."""
    """The run that a golden input describes."""
    start = 1_800_000_000_000_000_000
    tx = [start + 1_000 * NS * i for i in range(len(case["rtt_ms"]))]
    rx = [0 if rtt is None else at + round(rtt * NS) for at, rtt in zip(tx, case["rtt_ms"], strict=True)]
    unreachable = IcmpError(3, 1, "192.0.2.1")
    return Echoes(
        "192.0.2.7",
        4,
        raw=False,
        tx_ns=tx,
        rx_ns=rx,
        stepped=set(case.get("stepped", ())),
        send_errors=dict.fromkeys(case.get("send_errors", ()), 105),
        icmp_errors=dict.fromkeys(case.get("icmp_errors", ()), unreachable),
        duplicates=case.get("duplicates", 0),
        ttl=case.get("ttl"),
    )


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.in")))
def test_golden(name: str) -> None:
    """Each situation gives exactly the hand-computed figures, and leaves unset what was not measured."""
    case = json.loads((GOLDEN / f"{name}.in").read_text())
    spec = control_pb2.PingSpec(
        count=len(case["rtt_ms"]), wait_ms=case["wait_ms"], success=case.get("success", False)
    )
    row = MessageToDict(performance_of(spec, echoes_of(case)), preserving_proto_field_name=True)
    want = json.loads((GOLDEN / f"{name}.json").read_text())
    assert row.keys() == want.keys()
    assert {k: v for k, v in row.items() if isinstance(v, (str, bool))} == {
        k: v for k, v in want.items() if isinstance(v, (str, bool))
    }
    numbers = {k: v for k, v in want.items() if not isinstance(v, (str, bool))}
    assert {k: row[k] for k in numbers} == pytest.approx(numbers, rel=1e-6)


@given(RTTS, st.integers(1, 3000))
def test_every_echo_is_counted_once(rtts: list[int | None], wait_ms: int) -> None:
    """Received, late and unanswered echoes make up what was sent, and loss follows from them."""
    summary = summarise(rtts, wait_ns=wait_ms * NS)
    unanswered = rtts.count(None)
    assert summary.sent == len(rtts) == summary.received + summary.late + unanswered
    assert summary.loss_pct == pytest.approx(100 * (summary.late + unanswered) / len(rtts))


@given(RTTS)
def test_figures_agree_with_the_standard_library(rtts: list[int | None]) -> None:
    """Mean, median, standard deviation and order agree with `statistics` over the same replies."""
    summary = summarise(rtts, wait_ns=3000 * NS)
    times = [rtt / NS for rtt in rtts if rtt is not None]
    if not times:
        assert summary.rtt_min is summary.rtt_p50 is summary.jitter_rfc3550 is summary.pdv_p95 is None
        return
    assert summary.rtt_mean == pytest.approx(statistics.fmean(times))
    assert summary.rtt_p50 == pytest.approx(statistics.median(times))
    assert summary.rtt_stddev == pytest.approx(statistics.pstdev(times), abs=1e-9)
    assert summary.rtt_min is not None
    assert summary.rtt_p95 is not None
    assert summary.rtt_max is not None
    assert min(times) == summary.rtt_min <= summary.rtt_p95 <= summary.rtt_max == max(times)


@given(RTTS)
def test_no_pair_spans_a_loss(rtts: list[int | None]) -> None:
    """IPDV counts exactly the neighbours in sending order that were both answered."""
    summary = summarise(rtts, wait_ns=3000 * NS)
    pairs = [
        abs(rtts[i] - rtts[i - 1]) / NS  # type: ignore[operator]
        for i in range(1, len(rtts))
        if rtts[i] is not None and rtts[i - 1] is not None
    ]
    assert summary.ipdv_pairs == len(pairs)
    assert (summary.ipdv_mean_abs is None) == (not pairs)
    if pairs:
        assert summary.ipdv_mean_abs == pytest.approx(math.fsum(pairs) / len(pairs))


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=30), st.floats(0, 1))
def test_percentile_lies_between_its_neighbours(values: list[float], share: float) -> None:
    """A percentile is between the two values whose ranks enclose it."""
    ranked = sorted(values)
    rank = share * (len(ranked) - 1)
    low, high = ranked[math.floor(rank)], ranked[math.ceil(rank)]
    assert low - 1e-9 <= percentile(ranked, share) <= high + 1e-9
