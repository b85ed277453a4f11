"""The figures of a throughput run: rates of samples, plans of specs, and what iperf3 says."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.checks.throughput import iperf3_report
from sonde_agent.checks.throughput.errand import Failed, Place
from sonde_agent.checks.throughput.iperf3 import arguments
from sonde_agent.checks.throughput.program import Ended
from sonde_agent.checks.throughput.pure import Figures, at_cap, performance_of, plan_of, rates
from sonde_agent.checks.throughput.speedtest import parse
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

GOLDEN = Path(__file__).parents[2] / "golden" / "throughput"
BIN = 250_000_000


def steady(*mbits: float) -> list[tuple[int, int]]:
    """Samples of 250 ms bins with these Mbit/s."""
    samples = [(7 * BIN, 1000)]
    for rate in mbits:
        samples.append((samples[-1][0] + BIN, samples[-1][1] + int(rate * 1e6 / 8 / 4)))
    return samples


def test_ramp_is_left_out() -> None:
    """Mean and percentiles are of the bins after the ramp alone."""
    mean, p50, p90 = rates(steady(1, 2, 100, 200, 300), 2 * BIN) or (0, 0, 0)
    assert (mean, p50, p90) == pytest.approx((200, 200, 280))


def test_run_within_the_ramp_keeps_all() -> None:
    """A run whose bytes ended within its ramp is told by all there was."""
    assert rates(steady(100, 200), 8 * BIN) == pytest.approx((150, 150, 190))


def test_rest_of_a_bin_counts_in_the_mean_alone() -> None:
    """A short last bin changes the mean by its share and no percentile."""
    samples = [*steady(100, 100), (9 * BIN + 10_000_000, 1000 + 6_250_000 + 5_000_000)]
    mean, p50, p90 = rates(samples, 0) or (0, 0, 0)
    assert (p50, p90) == pytest.approx((100, 100))
    assert mean == pytest.approx(11_250_000 * 8 / 510_000_000 * 1000)


@given(st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)), max_size=30), st.integers(0, 10**10))
def test_mean_is_bytes_over_time(steps: list[tuple[int, int]], ramp_ns: int) -> None:
    """Whatever the samples, there is either no rate or one between the slowest and the fastest step."""
    samples = [(0, 0)]
    for ns, size in steps:
        samples.append((samples[-1][0] + ns, samples[-1][1] + size))
    found = rates(samples, ramp_ns)
    if found is not None:
        most = max(size * 8000 / ns if ns else float("inf") for ns, size in steps)
        assert 0 < found[0] <= most * (1 + 1e-9)


def test_defaults_of_a_plan() -> None:
    """A spec that names its URL alone is 8 s of 4 streams after 1.5 s, 1 GB, without a cap."""
    plan = plan_of(control_pb2.ThroughputSpec(url="http://a/"))
    assert (plan.engine, plan.download, plan.upload) == (pb.ENGINE_HTTP, True, False)
    assert (plan.seconds, plan.ramp_s, plan.streams, plan.max_bytes, plan.rate) == (8, 1.5, 4, 10**9, 0)


def test_download_leaves_half_of_the_bytes() -> None:
    """Where both directions are asked for, the upload has at least half of the run's bytes."""
    spec = control_pb2.ThroughputSpec(url="http://a/", upload_url="http://a/", max_bytes=1000)
    plan = plan_of(spec)
    assert plan.bytes_for(upload=False, used=0) == 500
    assert plan.bytes_for(upload=True, used=300) == 700


def test_row_joins_both_directions() -> None:
    """The row has the worse loaded RTT, the lesser TCP RTT, and the flags of both directions."""
    plan = plan_of(control_pb2.ThroughputSpec(url="http://a/"))
    down = Figures(mbps=10, loaded_ms=5, min_rtt_ms=2, streams=4, quality=Quality.BYTE_BOUND)
    up = Figures(mbps=3, loaded_ms=50, min_rtt_ms=1, retransmits=7, streams=3, quality=Quality.CPU_LIMITED)
    row = performance_of(plan, down, up)
    assert (row.download_mbps, row.upload_mbps, row.loaded_ping_ms, row.tcp_min_rtt_ms) == (10, 3, 50, 1)
    assert (row.retransmits, row.streams) == (7, 4)
    assert row.quality == Quality.BYTE_BOUND | Quality.CPU_LIMITED
    assert not row.HasField("download_p50_mbps")


def test_cap_is_told_only_where_it_held() -> None:
    """A rate well below the cap is the path's own."""
    plan = plan_of(control_pb2.ThroughputSpec(url="http://a/", rate_cap_mbps=100))
    assert at_cap(99, plan)
    assert not at_cap(60, plan)


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.in")))
def test_iperf3_golden(name: str) -> None:
    """What iperf3 3.12 said becomes its figures, or the failure that it names."""
    text, want = ((GOLDEN / f"{name}.{end}").read_text() for end in ("in", "json"))
    report = iperf3_report.parse(text, upload=name == "upload", bounded=name == "interrupted")
    expected = json.loads(want)
    if "failure" in expected:
        assert report.end is not None
        assert pb.Failure.Name(report.end.failure) == f"FAILURE_{expected['failure']}"
        assert pb.Stage.Name(report.end.stage) == f"STAGE_{expected['stage']}"
    else:
        assert {key: getattr(report.figures, key) for key in expected} == pytest.approx(expected, rel=1e-5)


@given(st.text() | st.sampled_from(["{}", "[]", '{"intervals": [{}]}', '{"intervals": [], "end": 1}', "1"]))
def test_iperf3_never_raises(text: str) -> None:
    """Whatever a program prints, the run ends with a failure in words."""
    report = iperf3_report.parse(text, upload=True, bounded=False)
    assert report.end is not None
    assert report.end.words


def test_iperf3_command() -> None:
    """The whole run is in the command: address, streams, ramp, each stream's cap, the direction."""
    plan = plan_of(
        control_pb2.ThroughputSpec(engine=pb.ENGINE_IPERF3, streams=2, rate_cap_mbps=10, seconds=3)
    )
    argv = " ".join(arguments(plan, Place("name", "2001:db8::1", 5201), upload=False))
    assert (
        "--client 2001:db8::1 --port 5201 --parallel 2 --time 3 --omit 2 --bitrate 5000000 --reverse" in argv
    )


def test_speedtest_figures() -> None:
    """speedtest-cli's JSON becomes Mbit/s and bytes of the direction."""
    said = '{"download": 93500000.0, "upload": 0, "bytes_sent": 0, "bytes_received": 117000000, "ping": 3}'
    figures = parse(Ended(said, "", bounded=False), 4.0, upload=False)
    assert (figures.mbps, figures.used_bytes, figures.loaded_ms) == (93.5, 117_000_000, 4.0)


def test_speedtest_complaint() -> None:
    """What speedtest-cli complains of is the failure's detail."""
    with pytest.raises(Failed, match=r"speedtest-cli: <urlopen error"):
        parse(Ended("", "ERROR: <urlopen error [Errno -2] Name not known>", bounded=False), None, upload=True)
