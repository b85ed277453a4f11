"""The connection check against a helper that says what a test tells it to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from support.programs import free_port

from sonde_agent.checks.base import Context
from sonde_agent.checks.kinds import KINDS
from sonde_agent.net.icmp import Engines
from sonde_agent.tunnel import frames
from sonde_agent.tunnel.client import Tunnels
from sonde_proto.v1 import control_pb2, tunnel_pb2
from sonde_proto.v1 import results_pb2 as pb

UP = tunnel_pb2.HelperEvent(
    up=tunnel_pb2.TunnelUp(backend="openvpn", server_address="127.0.0.1", family=4, connection_ms=9)
)
NOTHING_THROUGH = tunnel_pb2.HelperEvent(
    ended=tunnel_pb2.TunnelEnded(failure=pb.FAILURE_TIMEOUT, stage=pb.STAGE_FIRST_BYTE, detail="no answer")
)


@contextlib.asynccontextmanager
async def helper(path: Path, says: Sequence[tunnel_pb2.HelperEvent]) -> AsyncIterator[Tunnels]:
    """One that describes any profile, says those words of any tunnel, and keeps it until the agent goes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = tunnel_pb2.HelperRequest.FromString(await frames.read(reader) or b"")
        described = tunnel_pb2.Described(protocol="OpenVPN-UDP", host="127.0.0.1", port=1194)
        asked = request.WhichOneof("request") == "describe"
        for event in [tunnel_pb2.HelperEvent(described=described)] if asked else says:
            writer.write(frames.encode(event))
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    async with server:
        yield Tunnels(str(path))


async def row(
    tmp_path: Path, says: Sequence[tunnel_pb2.HelperEvent], task: control_pb2.Task
) -> pb.Performance:
    """The row of one run, which the check itself has to end in its time."""
    engines = Engines()
    try:
        async with helper(tmp_path / "helper", says) as tunnels, asyncio.timeout(task.timeout_ms / 1000):
            results = await KINDS["connection"].run(task, Context(icmp=engines, tunnels=tunnels))
    finally:
        engines.close()
    return results[0].performance


def tunnel(timeout_ms: int, exit_url: str = "", echoes: int = 1) -> control_pb2.Task:
    """A task that pings inside, and so directly too."""
    task = control_pb2.Task(key="a", target="s", timeout_ms=timeout_ms)
    task.connection.credential, task.connection.profile, task.connection.exit_url = "acme", "a.ovpn", exit_url
    ping = control_pb2.PingSpec(count=echoes, spacing_ms=100, wait_ms=100, payload_bytes=16)
    task.connection.inside.add(key="ping", timeout_ms=1000).ping.CopyFrom(ping)
    return task


async def test_a_run_out_of_time_keeps_its_row_although_the_baseline_goes_on(tmp_path: Path) -> None:
    """Direct echoes that would last beyond the run are cut with it: the tunnel that came up is still told."""
    got = await row(tmp_path, [UP], tunnel(4000, echoes=200))
    assert (got.connection_success, got.failure, got.stage) == (True, pb.FAILURE_TIMEOUT, pb.STAGE_TRANSFER)
    assert got.backend == "openvpn"


async def test_a_helper_that_says_nothing_is_no_fault_of_the_server(tmp_path: Path) -> None:
    """A handshake that fails is told by the helper: its own silence says nothing about a server."""
    got = await row(tmp_path, [], tunnel(2000))
    assert got.failure == pb.FAILURE_TIMEOUT
    assert not got.HasField("connection_success")


async def test_an_exit_url_that_is_down_is_no_fault_of_the_server(tmp_path: Path) -> None:
    """What answers neither through the tunnel nor directly says nothing about the tunnel."""
    got = await row(tmp_path, [NOTHING_THROUGH], tunnel(4000, exit_url=f"http://127.0.0.1:{free_port()}/ip"))
    assert got.stage == pb.STAGE_FIRST_BYTE
    assert not got.HasField("connection_success")
    assert "directly" in got.detail


async def test_an_exit_url_that_is_up_convicts_the_tunnel(tmp_path: Path) -> None:
    """What answers directly, and not through the tunnel: the tunnel passes nothing."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\n198.51.100.1\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as site:
        port = site.sockets[0].getsockname()[1]
        got = await row(tmp_path, [NOTHING_THROUGH], tunnel(4000, exit_url=f"http://127.0.0.1:{port}/ip"))
    assert (got.failure, got.stage) == (pb.FAILURE_TIMEOUT, pb.STAGE_FIRST_BYTE)
    assert got.HasField("connection_success")
    assert not got.connection_success
