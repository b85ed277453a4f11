"""Leases of what only so many may do at once, fleet-wide: asked for, renewed, and given back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import grpc
import structlog

from sonde_agent.task_bounds import shown
from sonde_agent.uplink.backoff import Interrupted
from sonde_agent.uplink.calls import ask
from sonde_agent.uplink.channel import Channels
from sonde_agent.uplink.session import Identity
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

log = structlog.get_logger()

_ANSWER_WITHIN_S = 3.0
_NOBODY_THERE_S = 5.0
"""Before a collector that gave no answer is asked again: an exclusive run empties the vantage to ask."""
_RENEWALS = 3
"""A lease is renewed at each third of its time: two words may get lost."""
_AGAIN_S = 1.0  # after a renewal that failed
_ENDING_S = 3.0
"""How long before its lease ends a run is told to: a tunnel takes 2 s to be gone."""
_REASONS = (pb.MISS_REASON_NO_LEASE, pb.MISS_REASON_CREDENTIAL)
_LONGEST_DETAIL = 200
_ENDING_SHARE = 5  # at most this part of a short lease


class Denied(Exception):
    """No lease.

    Args:
        reason: NO_LEASE or CREDENTIAL.
        retry_after_s: when it may be worth to ask again.
        detail: in words for a person.
    """

    def __init__(self, reason: pb.MissReason.ValueType, retry_after_s: float, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.detail = detail


class LeaseLost(Exception):
    """The lease could not be renewed, so the run was ended before its time."""


class Lease:
    """A lease in hand; what is set here is told to the collector when it is given back.

    Attributes:
        failure: how the run ended; AUTH is held against the credential.
        connected: a handshake with the credential succeeded.
        settle_s: for how long the provider counts the session after its goodbye.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.settle_s = 0.0
        self.failure: pb.Failure.ValueType = pb.FAILURE_NONE
        self.connected = False


class Leases:
    """The agent's side of Acquire, Renew and Release.

    Args:
        channels: the way to the collector, shared with uplink and control.
        identity: vantage and instance.
    """

    def __init__(self, channels: Channels, identity: Identity) -> None:
        self._channels = channels
        self._identity = identity

    @asynccontextmanager
    async def hold(
        self, server: str, wants: Sequence[control_pb2.Want], patience_s: float = 0.0
    ) -> AsyncIterator[Lease]:
        """Hold what is wanted for as long as the context lasts.

        Args:
            server: stable key of what is measured.
            wants: all are granted together, or none.
            patience_s: for how long they will be asked for again, if they are denied.

        Raises:
            Denied: it is not granted, or there is no collector to grant it.
            LeaseLost: it ran out while the context lasted; what ran in it was cancelled.
        """
        asked_s = _boot_s()
        reply = await self._acquire(server, wants, patience_s)
        if not reply.lease:
            is_known = reply.reason in _REASONS
            raise Denied(
                reply.reason if is_known else pb.MISS_REASON_NO_LEASE,
                reply.retry_after_ms / 1000,
                shown(reply.detail, _LONGEST_DETAIL),
            )
        lease = Lease(reply.lease)
        ttl_s = reply.ttl_ms / 1000
        try:
            async with asyncio.timeout(None) as limit:
                renewing = asyncio.create_task(self._keep(lease, asked_s, ttl_s, limit))
                try:
                    yield lease
                finally:
                    renewing.cancel()
        except TimeoutError:
            if not limit.expired():
                raise
            raise LeaseLost("the collector did not renew the lease in time") from None
        finally:
            await self._release(lease)

    async def _acquire(
        self, server: str, wants: Sequence[control_pb2.Want], patience_s: float
    ) -> control_pb2.AcquireReply:
        request = control_pb2.AcquireRequest(
            vantage=self._identity.vantage,
            instance=self._identity.instance,
            server=server,
            wants=wants,
            patience_ms=round(max(patience_s, 0) * 1000),
        )
        try:
            async with self._channels.use() as channel:
                return await ask(channel, "Acquire", request, control_pb2.AcquireReply, _ANSWER_WITHIN_S)
        except grpc.aio.AioRpcError as error:
            words = f"the collector grants no lease: {error.details() or error.code().name}"
        except Interrupted as error:
            words = str(error)
        raise Denied(pb.MISS_REASON_NO_LEASE, _NOBODY_THERE_S, words)

    async def _keep(self, lease: Lease, asked_s: float, ttl_s: float, limit: asyncio.Timeout) -> None:
        """Renew until cancelled; end the run when the lease is about to run out.

        Time is BOOTTIME's: a lease runs out while the host is suspended, and the event loop's clock stands.
        """
        ends_s = asked_s + ttl_s
        renew_s = asked_s + ttl_s / _RENEWALS
        ending_s = min(_ENDING_S, ttl_s / _ENDING_SHARE)
        while (left_s := ends_s - ending_s - (now := _boot_s())) > 0:
            if now < renew_s:
                await asyncio.sleep(min(_AGAIN_S, renew_s - now, left_s))
                continue
            renewed_s = await self._renew(lease, min(_ANSWER_WITHIN_S, left_s))
            if renewed_s == 0:
                log.warning("lease_ended", lease=lease.name)
                break
            if renewed_s is None:
                renew_s = now + _AGAIN_S
            else:
                ends_s, renew_s = now + renewed_s, now + renewed_s / _RENEWALS
        limit.reschedule(asyncio.get_running_loop().time())

    async def _renew(self, lease: Lease, within_s: float) -> float | None:
        """Give how long the lease holds from now on; 0 = it is no more, None = nobody answered."""
        try:
            async with self._channels.use() as channel:
                request = control_pb2.RenewRequest(lease=lease.name)
                reply = await ask(channel, "Renew", request, control_pb2.RenewReply, within_s)
        except (grpc.aio.AioRpcError, Interrupted):
            return None
        return reply.ttl_ms / 1000

    async def _release(self, lease: Lease) -> None:
        """Give it back; where nobody answers it runs out by itself."""
        request = control_pb2.ReleaseRequest(
            lease=lease.name,
            failure=lease.failure,
            connected=lease.connected,
            settle_ms=round(lease.settle_s * 1000),
        )
        with contextlib.suppress(grpc.aio.AioRpcError, Interrupted):
            async with self._channels.use() as channel:
                await ask(channel, "Release", request, control_pb2.ReleaseReply, _ANSWER_WITHIN_S)


def _boot_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
