"""A run holds its lease as long as the collector renews it, and not a moment longer."""

import asyncio
import time

import pytest
from support.lease_server import lease_server

from sonde_agent.control.leases import Denied, LeaseLost, Leases
from sonde_agent.uplink.channel import Channels
from sonde_agent.uplink.session import Identity
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

WANTS = [control_pb2.Want(credential="acme"), control_pb2.Want(key="00ff")]


def leases(port: int) -> Leases:
    """Leases of the collector at that port."""
    return Leases(Channels(f"127.0.0.1:{port}"), Identity("v", "1", b"i" * 16))


async def test_a_lease_is_renewed_and_given_back_with_how_the_run_ended() -> None:
    """A run of three times the lease's length keeps it; the collector hears failure and connection."""
    async with lease_server() as (collector, _):
        collector.ttl_ms = 400
        async with leases(collector.port).hold("server", WANTS) as lease:
            await asyncio.sleep(1.2)
            assert len(collector.held) == 1
            lease.failure, lease.connected = pb.FAILURE_AUTH, True
        assert not collector.held
        assert [(one.failure, one.connected) for one in collector.released] == [(pb.FAILURE_AUTH, True)]
        assert (collector.asked[0].vantage, collector.asked[0].server) == ("v", "server")
        assert list(collector.asked[0].wants) == WANTS


async def test_a_run_ends_before_its_lease_does_when_the_collector_is_gone() -> None:
    """Nobody renews: the run is cancelled within the lease's time, counted from before it was asked for."""
    async with lease_server() as (collector, server):
        collector.ttl_ms = 1000
        asked, ended = time.monotonic(), 0.0

        async def run() -> None:
            nonlocal ended
            async with leases(collector.port).hold("server", WANTS):
                await server.stop(None)
                try:
                    await asyncio.sleep(30)
                finally:
                    ended = time.monotonic()

        with pytest.raises(LeaseLost):
            await run()
        assert ended - asked < 1.0


async def test_a_lease_that_the_collector_ended_ends_the_run_at_once() -> None:
    """A renewal that is answered with 0 cancels the run long before its time."""
    async with lease_server() as (collector, _):
        collector.ttl_ms, collector.renews = 2000, False
        began = time.monotonic()
        with pytest.raises(LeaseLost):
            async with leases(collector.port).hold("server", WANTS):
                await asyncio.sleep(30)
        assert time.monotonic() - began < 1.5


async def test_a_run_that_fails_keeps_its_own_error() -> None:
    """A TimeoutError of the run is not taken for a lost lease, and the lease is given back."""
    async with lease_server() as (collector, _):
        with pytest.raises(TimeoutError, match="of the run"):
            async with leases(collector.port).hold("server", WANTS):
                raise TimeoutError("of the run")
        assert len(collector.released) == 1


async def test_what_is_denied_says_why_and_when_to_ask_again() -> None:
    """Reason, words and time are the collector's; without one it is NO_LEASE."""
    async with lease_server() as (collector, server):
        collector.deny = [
            control_pb2.AcquireReply(reason="MISS_REASON_CREDENTIAL", detail="refused", retry_after_ms=5000)
        ]
        holder = leases(collector.port)
        with pytest.raises(Denied) as denied:
            async with holder.hold("server", WANTS):
                pytest.fail("it holds nothing")
        assert (denied.value.reason, denied.value.detail) == (pb.MISS_REASON_CREDENTIAL, "refused")
        assert denied.value.retry_after_s == 5
        await server.stop(None)
        with pytest.raises(Denied) as denied:
            async with holder.hold("server", WANTS):
                pytest.fail("it holds nothing")
        assert denied.value.reason == pb.MISS_REASON_NO_LEASE
        assert "no lease" in denied.value.detail
