"""The throughput check against real servers on loopback."""

import asyncio
import gc
import shutil
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.bulk_servers import ndt7, nginx, running, swallow
from support.edges import Authority, Edge, closed_port, reset, silent, then_silent
from support.programs import free_port

from sonde_agent.checks.base import Context
from sonde_agent.checks.kinds import KINDS
from sonde_agent.net.icmp import Engines
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

needs_nginx = pytest.mark.skipif(not shutil.which("nginx"), reason="needs nginx (nginx-light)")
needs_iperf3 = pytest.mark.skipif(not shutil.which("iperf3"), reason="needs iperf3")
MB = 1_000_000
SHORT: dict[str, Any] = {
    "seconds": 1,
    "ramp_ms": 250,
    "streams": 2,
    "rate_cap_mbps": 400,
    "max_bytes": 1000 * MB,
}


def open_files() -> int:
    """How many this process has."""
    return len(list(Path("/proc/self/fd").iterdir()))


async def run(context: Context | None = None, timeout_ms: int = 20_000, **spec: Any) -> pb.Performance:
    """Run the check once."""
    engines = Engines()
    throughput = control_pb2.ThroughputSpec(**(SHORT | spec))
    task = control_pb2.Task(key="k", target="t", timeout_ms=timeout_ms, throughput=throughput)
    try:
        [result] = await KINDS["throughput"].run(task, context or Context(icmp=engines))
    finally:
        engines.close()
    assert result.target == "t"
    return result.performance


def ended(row: pb.Performance) -> tuple[str, str]:
    """Failure and stage in words."""
    failure, stage = pb.Failure.Name(row.failure), pb.Stage.Name(row.stage)
    return failure.removeprefix("FAILURE_"), stage.removeprefix("STAGE_")


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A web server with large files."""
    with nginx(tmp_path_factory.mktemp("nginx")) as url:
        yield url


@needs_nginx
async def test_both_directions(web: str) -> None:
    """A download and an upload at a cap give figures near the cap, the loaded RTT, and what they cost."""
    with Edge(swallow) as sink:
        row = await run(url=f"{web}/1g", upload_url=sink.url())
    assert ended(row) == ("NONE", "NONE"), row.detail
    for mbps in (row.download_mbps, row.upload_mbps, row.download_p50_mbps, row.upload_p50_mbps):
        assert 320 < mbps < 430
    assert row.quality & Quality.RATE_CAPPED
    assert (row.family, row.streams, row.engine) == (4, 2, pb.ENGINE_HTTP)
    assert 0 < row.tcp_min_rtt_ms < 50
    assert 0 < row.loaded_ping_ms < 500
    assert 400 * MB / 8 < row.down_bytes < 600 * MB / 8
    assert row.HasField("retransmits")
    assert row.up_bytes > 0


@needs_nginx
async def test_body_is_asked_for_again(web: str) -> None:
    """A body far shorter than the run is asked for again and again on the same connections."""
    row = await run(url=f"{web}/1m", rate_cap_mbps=200)
    assert ended(row) == ("NONE", "NONE"), row.detail
    assert row.download_mbps > 150
    assert row.down_bytes > 20 * MB


@needs_nginx
async def test_byte_bound(web: str) -> None:
    """The run ends at its bytes, in good order, and says so."""
    begin = time.monotonic()
    row = await run(url=f"{web}/1g", max_bytes=20 * MB, rate_cap_mbps=0, seconds=8)
    assert ended(row) == ("NONE", "NONE"), row.detail
    assert row.quality & Quality.BYTE_BOUND
    assert row.download_mbps > 100
    assert row.down_bytes >= 20 * MB
    assert time.monotonic() - begin < 4


@needs_nginx
async def test_over_tls(tmp_path: Path) -> None:
    """An https URL is measured after its certificate was verified; without the CA it is not measured."""
    authority = Authority(tmp_path)
    tls = authority.leaf("127.0.0.1")
    with (
        nginx(tmp_path, tls=tls) as url,
        Edge(swallow, authority.server("127.0.0.1")) as sink,
    ):
        row = await run(
            url=f"{url}/1g", upload_url=sink.url(), ca_file=str(authority.file), rate_cap_mbps=100
        )
        assert ended(row) == ("NONE", "NONE"), row.detail
        assert 70 < row.download_mbps < 110
        assert 70 < row.upload_mbps < 110
        assert ended(await run(url=f"{url}/1g")) == ("CERTIFICATE", "HANDSHAKE")


@needs_nginx
@pytest.mark.parametrize(
    ("path", "word"), [("/missing", "404"), ("/tiny", "300 bytes")], ids=["missing", "too small"]
)
async def test_url_that_gives_too_little(web: str, path: str, word: str) -> None:
    """A URL that answers without enough bytes is told as such."""
    row = await run(url=web + path)
    assert ended(row) == ("EXPECTATION", "EXPECT")
    assert word in row.detail


@needs_nginx
async def test_upload_refused(web: str) -> None:
    """A server that refuses the body early is heard while we send; the download that went before is kept."""
    row = await run(url=f"{web}/1g", upload_url=f"{web}/1g", rate_cap_mbps=100)
    assert ended(row) == ("EXPECTATION", "EXPECT")
    assert "413" in row.detail
    assert row.download_mbps > 70
    assert not row.HasField("upload_mbps")


FAULTS = {
    "reset": (reset, ("RESET", "FIRST_BYTE")),
    "no http": (b"SSH-2.0-OpenSSH_9.2\r\n", ("PROTOCOL", "FIRST_BYTE")),
    "ends in the body": (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\nshort", ("RESET", "TRANSFER")),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
        ("EXPECTATION", "EXPECT"),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_faults(name: str) -> None:
    """Each way to fail has its own failure and stage, and gives no rate."""
    serve, want = FAULTS[name]
    with Edge(serve) as edge:
        row = await run(url=edge.url())
    assert ended(row) == want, row.detail
    assert not row.HasField("download_mbps")


async def test_closed_port() -> None:
    """A closed port is refused while connecting."""
    row = await run(url=f"http://127.0.0.1:{closed_port()}/")
    assert ended(row) == ("REFUSED", "TRANSPORT")


@pytest.mark.parametrize("kind", ["silent", "stops in the body"])
async def test_silence_ends_in_time(kind: str) -> None:
    """A server that says nothing, or no more, ends the run at its deadline as a timeout."""
    body = then_silent(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + bytes(100_000))
    with Edge(silent if kind == "silent" else body) as edge:
        row = await run(url=edge.url(), timeout_ms=1500)
    assert ended(row)[0] == "TIMEOUT"


async def test_ipv6() -> None:
    """An IPv6 URL is measured over IPv6, and said to be; asked over IPv4 it has no address."""
    with Edge(swallow, address="::1") as sink:
        row = await run(upload_url=sink.url())
        assert (ended(row), row.family) == (("NONE", "NONE"), 6)
        assert row.upload_mbps > 300
        assert ended(await run(upload_url=sink.url(), family=4)) == ("NO_ADDRESS", "RESOLVE")


async def test_policy_is_asked() -> None:
    """Nothing is sent to an address that the policy forbids."""
    with Edge(swallow) as edge:
        engines = Engines()
        context = Context(icmp=engines, refuse=lambda address, port: f"no {address} {port}")
        row = await run(context, url=edge.url())
        assert ended(row) == ("POLICY", "RESOLVE")
        assert row.detail == f"no 127.0.0.1 {edge.port}"


@needs_nginx
async def test_cancelled_run_leaves_nothing(web: str) -> None:
    """A run that is cancelled in full flow has closed its sockets and ended its thread when it returns."""
    await asyncio.to_thread(int)  # the pool's own thread is there before and after
    gc.collect()
    files, threads = open_files(), threading.active_count()
    work = asyncio.create_task(run(url=f"{web}/1g", seconds=30))
    await asyncio.sleep(0.6)
    work.cancel()
    begin = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert time.monotonic() - begin < 1
    assert open_files() <= files
    assert threading.active_count() <= threads + 1  # a second of the pool's


@needs_nginx
async def test_progress_is_told(web: str) -> None:
    """Whoever watches sees a line a bin."""
    lines: list[str] = []
    engines = Engines()
    await run(Context(icmp=engines, progress=lines.append), url=f"{web}/1g")
    engines.close()
    assert len(lines) >= 4
    assert all("download" in line and "Mbit/s" in line for line in lines)


@pytest.mark.parametrize("secure", [False, True])
async def test_ndt7(tmp_path: Path, secure: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    """An ndt7 service is measured both ways, over ws and wss, measurements and pings between the messages."""
    authority = Authority(tmp_path)
    tls: ssl.SSLContext | None = authority.server("127.0.0.1") if secure else None
    with Edge(ndt7(), tls) as edge:
        url = edge.url("/").replace("http", "ws", 1)
        row = await run(engine=pb.ENGINE_NDT7, url=url, ca_file=str(authority.file), rate_cap_mbps=100)
    assert ended(row) == ("NONE", "NONE"), row.detail
    assert 70 < row.download_mbps < 110
    assert 70 < row.upload_mbps < 110
    assert row.streams == 1


async def test_ndt7_server_ends_the_test() -> None:
    """A server that has had enough before us ends the run, and what there was is told."""
    with Edge(ndt7(hang_up=0.8)) as edge:
        row = await run(engine=pb.ENGINE_NDT7, url=edge.url(), download=True, rate_cap_mbps=100, seconds=5)
    assert ended(row) == ("NONE", "NONE"), row.detail
    assert row.download_mbps > 50


async def test_ndt7_at_a_web_server() -> None:
    """A web server that does not switch protocols is no ndt7."""
    with Edge(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as edge:
        row = await run(engine=pb.ENGINE_NDT7, url=edge.url())
    assert ended(row)[0] == "PROTOCOL"


@needs_iperf3
async def test_iperf3() -> None:
    """iperf3 is measured both ways, held to the cap, and stopped at the run's bytes."""
    port = free_port()
    with running(["iperf3", "-s", "-B", "127.0.0.1", "-p", str(port)], "127.0.0.1", port):
        row = await run(engine=pb.ENGINE_IPERF3, server=f"127.0.0.1:{port}", rate_cap_mbps=100)
        assert ended(row) == ("NONE", "NONE"), row.detail
        assert 80 < row.download_mbps < 110
        assert 80 < row.upload_mbps < 110
        assert row.quality & Quality.RATE_CAPPED
        row = await run(
            engine=pb.ENGINE_IPERF3, server=f"127.0.0.1:{port}", download=True, max_bytes=30 * MB, seconds=9
        )
        assert ended(row) == ("NONE", "NONE"), row.detail
        assert row.quality & Quality.BYTE_BOUND
        assert row.down_bytes < 60 * MB
    row = await run(engine=pb.ENGINE_IPERF3, server=f"127.0.0.1:{port}")
    assert ended(row) == ("REFUSED", "TRANSPORT")
