"""Throughput over a veth pair between two namespaces, shaped by the kernel's own token bucket (tbf)."""

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.bulk_servers import nginx, running
from support.namespaces_pair import Pair, pair
from support.own_network import join

from sonde_agent.checks.base import Context
from sonde_agent.checks.kinds import KINDS
from sonde_agent.net.icmp import Engines
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

LACKS = [name for name in ("nginx", "iperf3", "tc", "nsenter") if not shutil.which(name)]
pytestmark = [
    pytest.mark.root,
    pytest.mark.quiet,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (network namespaces)"),
    pytest.mark.skipif(bool(LACKS), reason=f"needs the programs {' '.join(LACKS)}"),
]
OF_ETHERNET = 1448 / 1514
"""Payload of a full TCP segment, by the bytes that tbf counts."""

WEB, SINK, IPERF = 8080, 8081, 5201


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two namespaces; nginx, a swallower and iperf3 in the second."""
    sink = [sys.executable, str(Path(__file__).parents[1] / "support" / "bulk_servers.py"), "swallow"]
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    try:
        with (
            pair() as made,
            nginx(tmp_path_factory.mktemp("nginx"), made.second, WEB, inside=made.in_second),
            running([*sink, made.second, str(SINK)], made.second, SINK, made.in_second),
            running(["iperf3", "-s", "-p", str(IPERF)], made.second, IPERF, made.in_second),
        ):
            yield made
    finally:
        if path is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = path


def measured(two: Pair, **spec: Any) -> pb.Performance:
    """Run the check in the first namespace, in a thread that moved there."""
    places: dict[str, Any] = {
        "url": f"http://{two.second}:{WEB}/1g",
        "upload_url": f"http://{two.second}:{SINK}/",
        "server": f"{two.second}:{IPERF}",
    }
    throughput = control_pb2.ThroughputSpec(**(places | {"seconds": 3, "ramp_ms": 1000} | spec))
    task = control_pb2.Task(key="k", target="t", timeout_ms=40_000, throughput=throughput)

    async def once() -> pb.Performance:
        engines = Engines()
        try:
            [result] = await KINDS["throughput"].run(task, Context(icmp=engines))
        finally:
            engines.close()
        return result.performance

    def inside() -> pb.Performance:
        join(two.pids[0])
        return asyncio.run(once())

    with ThreadPoolExecutor(1) as pool:
        row = pool.submit(inside).result(timeout=60)
    assert not row.failure, row.detail
    return row


def quietly(trial: Callable[[], None]) -> None:
    """Try up to three times: the cores are shared, and one quiet moment shows what is possible."""
    for _ in range(2):
        try:
            return trial()
        except AssertionError:
            continue
    return trial()


@pytest.mark.parametrize(("mbps", "streams"), [(20, 4), (40, 1), (40, 4), (100, 4)])
def test_shaped_rate(two: Pair, mbps: int, streams: int) -> None:
    """Download and upload are within 5 % of what the shaped line can carry of payload."""
    two.shape(mbps, upload=False)
    two.shape(mbps, upload=True)

    def trial() -> None:
        row = measured(two, streams=streams)
        want = pytest.approx(mbps * OF_ETHERNET, rel=0.05)
        assert row.download_mbps == want
        assert row.upload_mbps == want
        assert row.download_p50_mbps == pytest.approx(mbps * OF_ETHERNET, rel=0.08)
        assert row.upload_p50_mbps == pytest.approx(mbps * OF_ETHERNET, rel=0.08)
        assert 1 < row.loaded_ping_ms < 100  # the bucket queues 20 ms; an echo waits in it

    quietly(trial)


def test_engines_agree(two: Pair) -> None:
    """iperf3 and our own engine tell the same rate of the same line, within what iperf3 varies by."""
    two.shape(50, upload=False)
    two.shape(50, upload=True)

    def trial() -> None:
        own, theirs = measured(two), measured(two, engine=pb.ENGINE_IPERF3)
        assert own.download_mbps == pytest.approx(theirs.download_mbps, rel=0.1)
        assert own.upload_mbps == pytest.approx(theirs.upload_mbps, rel=0.1)

    quietly(trial)


def test_cap_below_the_line(two: Pair) -> None:
    """A cap is kept exactly while the line could carry more, and is told."""
    two.shape(200, upload=False)
    two.shape(200, upload=True)

    def trial() -> None:
        row = measured(two, rate_cap_mbps=30)
        assert row.download_mbps == pytest.approx(30, rel=0.03)
        assert row.upload_mbps == pytest.approx(30, rel=0.03)
        assert row.quality & Quality.RATE_CAPPED

    quietly(trial)
