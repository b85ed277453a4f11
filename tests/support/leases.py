"""Accounts in a database, and an agent's side of the calls about leases."""

import os
from typing import Any

import grpc
import psycopg

from sonde_proto.v1 import control_pb2, control_pb2_grpc, results_pb2


def account(conn: psycopg.Connection, credential: str, **values: Any) -> None:
    """Adds an account of the first provider; values are columns of sonde.accounts."""
    settings = {"sessions": 1, "linger_s": 60.0} | values
    names = ", ".join(settings)
    conn.execute(
        f"INSERT INTO sonde.accounts (credential, provider_id, {names})"
        f" SELECT %s, min(id){', %s' * len(settings)} FROM providers",
        (credential, *settings.values()),
    )


class Agent:
    """An agent that asks for leases.

    Args:
        channel: to a collector.
        vantage: its code.
    """

    def __init__(self, channel: grpc.aio.Channel, vantage: str = "ams1") -> None:
        self.vantage = vantage
        self.instance = os.urandom(16)
        self._stub = control_pb2_grpc.ControlStub(channel)

    async def acquire(
        self, *, server: str = "s1", patience_ms: int | None = None, **wants: str
    ) -> control_pb2.AcquireReply:
        """Asks for a lease; wants are target, credential and key."""
        return await self._stub.Acquire(
            control_pb2.AcquireRequest(
                vantage=self.vantage,
                instance=self.instance,
                server=server,
                wants=[control_pb2.Want(**{kind: name}) for kind, name in wants.items()],
                patience_ms=patience_ms,
            )
        )

    async def renew(self, lease: str) -> int:
        """Renews; returns the time that the lease has [ms]."""
        return int((await self._stub.Renew(control_pb2.RenewRequest(lease=lease))).ttl_ms)

    async def release(
        self,
        lease: str,
        failure: results_pb2.Failure.ValueType = results_pb2.FAILURE_NONE,
        *,
        connected: bool = False,
        settle_ms: int = 0,
    ) -> None:
        """Ends a lease."""
        await self._stub.Release(
            control_pb2.ReleaseRequest(lease=lease, failure=failure, connected=connected, settle_ms=settle_ms)
        )

    async def run(self, credential: str, server: str, *, connected: bool) -> control_pb2.AcquireReply:
        """Makes a run that the provider lets in, or turns away."""
        reply = await self.acquire(server=server, credential=credential)
        if reply.lease:
            failure = results_pb2.FAILURE_NONE if connected else results_pb2.FAILURE_AUTH
            await self.release(reply.lease, failure, connected=connected)
        return reply
