"""A collector over real gRPC that assigns tasks and grants leases from memory, as a test tells it to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from sonde_proto.v1 import control_pb2, control_pb2_grpc


class LeaseServer(control_pb2_grpc.ControlServicer):
    """Grants what is asked for, each credential, key and target once at a time.

    Attributes:
        port: on loopback.
        ttl_ms: of a lease.
        deny: replies to give before anything is granted, in order.
        renews: whether leases are renewed.
        held: lease -> what it holds.
        most: the most leases held at once.
        asked: every request, in order.
        released: every word of release, in order.
        assignment: what every agent is to do.
        states: what agents said of themselves, in order.
    """

    def __init__(self) -> None:
        self.port = 0
        self.ttl_ms = 15_000
        self.deny: list[control_pb2.AcquireReply] = []
        self.renews = True
        self.held: dict[str, set[tuple[str, str]]] = {}
        self.most = 0
        self.asked: list[control_pb2.AcquireRequest] = []
        self.released: list[control_pb2.ReleaseRequest] = []
        self.assignment = control_pb2.Assignment()
        self.states: list[control_pb2.AgentState] = []

    async def Watch(  # noqa: N802  # gRPC names it
        self, request_iterator: AsyncIterator[control_pb2.AgentState], _context: Any
    ) -> AsyncIterator[control_pb2.Assignment]:
        """Answer each state with the assignment."""
        async for state in request_iterator:
            self.states.append(state)
            yield self.assignment

    async def Acquire(  # noqa: N802  # gRPC names it
        self, request: control_pb2.AcquireRequest, _context: Any
    ) -> control_pb2.AcquireReply:
        """Grant all or nothing."""
        self.asked.append(request)
        if self.deny:
            return self.deny.pop(0)
        wanted = {
            (kind, getattr(want, kind)) for want in request.wants if (kind := want.WhichOneof("resource"))
        }
        if any(wanted & taken for taken in self.held.values()):
            return control_pb2.AcquireReply(
                reason="MISS_REASON_NO_LEASE", retry_after_ms=100, detail="in use"
            )
        lease = f"lease-{len(self.asked)}"
        self.held[lease] = wanted
        self.most = max(self.most, len(self.held))
        return control_pb2.AcquireReply(lease=lease, ttl_ms=self.ttl_ms)

    async def Renew(  # noqa: N802
        self, request: control_pb2.RenewRequest, _context: Any
    ) -> control_pb2.RenewReply:
        """Renew what is held."""
        known = self.renews and request.lease in self.held
        return control_pb2.RenewReply(ttl_ms=self.ttl_ms if known else 0)

    async def Release(  # noqa: N802
        self, request: control_pb2.ReleaseRequest, _context: Any
    ) -> control_pb2.ReleaseReply:
        """Take it back."""
        self.released.append(request)
        self.held.pop(request.lease, None)
        return control_pb2.ReleaseReply()


@asynccontextmanager
async def lease_server(address: str = "127.0.0.1:0") -> AsyncIterator[tuple[LeaseServer, grpc.aio.Server]]:
    """A running one, and what it runs in: `await server.stop(None)` is its death."""
    leases, server = LeaseServer(), grpc.aio.server()
    control_pb2_grpc.add_ControlServicer_to_server(leases, server)
    leases.port = server.add_insecure_port(address)
    await server.start()
    try:
        yield leases, server
    finally:
        await server.stop(None)
