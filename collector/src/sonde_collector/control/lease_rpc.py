"""Control.Acquire, Renew and Release: who asks, whether the words can be understood, and the answer."""

import asyncio
import datetime as dt
import functools
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID

import grpc
import psycopg
import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram
from psycopg_pool import PoolTimeout

from sonde_collector.control import lease_book
from sonde_collector.control.directory import Directory, Entry
from sonde_collector.control.lease_book import Asker
from sonde_collector.control.leases import TTL, Denial, Resource, resources
from sonde_collector.db.pool import Database
from sonde_collector.identity import Peer, Peers, Refused
from sonde_collector.limits.vantages import Vantages
from sonde_proto.v1 import control_pb2, control_pb2_grpc, results_pb2

_WORKERS = 4  # of the pool's connections; each request takes about a millisecond of one
_CONNECT_S = 3.0  # for a connection of the pool; the agent asks again
_PATIENCE_S = 10.0  # an answer that comes later helps nobody
_LONGEST = 512  # characters of a name
_MOST_WANTS = 8
_INSTANCE_BYTES = 16
_MS = 1000
_log = structlog.get_logger()

_Context = grpc.aio.ServicerContext[Any, Any]
_T = TypeVar("_T")


class _TooLate(Exception):
    """The request waited longer than its agent did."""


class LeaseCalls(control_pb2_grpc.ControlServicer):
    """Serves the three calls about leases.

    Args:
        database: where leases are.
        directory: which vantages there are.
        registry: where metrics go.
        peers: who judges whom agents may speak for.
        vantages: how many leases each may hold, and for how long.
    """

    def __init__(
        self,
        database: Database,
        directory: Directory,
        registry: CollectorRegistry,
        peers: Peers,
        vantages: Vantages,
    ) -> None:
        self._peers = peers
        self._vantages = vantages
        self._database = database
        self._directory = directory
        self._workers = ThreadPoolExecutor(_WORKERS, thread_name_prefix="lease")
        self._asked = Counter(
            "sonde_lease_requests", "Leases asked for, by answer", ["answer"], registry=registry
        )
        self._ended = Counter(
            "sonde_leases_ended",
            "Leases that ended, by how: released, or renewed too late",
            ["how"],
            registry=registry,
        )
        self._seconds = Histogram(
            "sonde_lease_seconds", "One request for a lease, until its answer", registry=registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        )  # fmt: skip
        for answer in ("granted", "no_lease", "credential"):
            self._asked.labels(answer)

    async def Acquire(  # noqa: N802 -- gRPC's name
        self, request: control_pb2.AcquireRequest, context: _Context
    ) -> control_pb2.AcquireReply:
        """Grant all that is wanted, or say why not and when to ask again."""
        entry = await self._identify(request.vantage, context)
        try:
            wanted = _read(request)
        except ValueError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise  # abort has raised already
        patience = dt.timedelta(milliseconds=request.patience_ms) if request.HasField("patience_ms") else None
        most = self._vantages.limits.leases
        asker = Asker(entry.probe_id, request.instance, request.server, patience, most)
        asked = time.monotonic()
        answer = await self._do(
            context, lambda conn: lease_book.acquire(conn, asker, wanted), unheard=self._give_back
        )
        self._seconds.observe(time.monotonic() - asked)
        if isinstance(answer, Denial):
            if answer.too_many:
                self._vantages.met(request.vantage, "leases", f"{request.vantage}: {answer.detail}")
            reason = results_pb2.MissReason.Name(answer.reason).removeprefix("MISS_REASON_").lower()
            self._asked.labels(reason).inc()
            return control_pb2.AcquireReply(
                reason=answer.reason,
                detail=answer.detail,
                retry_after_ms=max(1, round(answer.retry.total_seconds() * _MS)),
            )
        self._asked.labels("granted").inc()
        return control_pb2.AcquireReply(lease=str(answer), ttl_ms=_ttl_ms())

    async def Renew(  # noqa: N802
        self, request: control_pb2.RenewRequest, context: _Context
    ) -> control_pb2.RenewReply:
        """Let a lease live on; 0 where it has ended."""
        renew = functools.partial(
            lease_book.renew, longest=dt.timedelta(seconds=self._vantages.limits.lease_time)
        )
        if not await self._with_own(request.lease, context, renew):
            self._ended.labels("late").inc()
            return control_pb2.RenewReply(ttl_ms=0)
        return control_pb2.RenewReply(ttl_ms=_ttl_ms())

    async def Release(  # noqa: N802
        self, request: control_pb2.ReleaseRequest, context: _Context
    ) -> control_pb2.ReleaseReply:
        """End a lease, and take what its run says of the account."""
        end = functools.partial(lease_book.release, connected=_evidence(request), settle=_settle(request))
        refused = await self._with_own(request.lease, context, end)
        if refused is not None:
            self._ended.labels("released").inc()
        for name in refused or ():
            _log.warning(
                "credential_refused",
                credential=name,
                advice=f"see to the account, then `sonde-collector credentials resume {name}`",
            )
        return control_pb2.ReleaseReply()

    def stop_leases(self) -> None:
        """End the threads, once no call can come any more."""
        self._workers.shutdown(wait=False, cancel_futures=True)

    async def _identify_peer(self, vantage: str, context: _Context) -> Peer:
        try:
            return self._peers.identify(context.auth_context(), vantage)
        except Refused as refused:
            await context.abort(refused.status, str(refused))
            raise

    async def _identify(self, vantage: str, context: _Context) -> Entry:
        await self._identify_peer(vantage, context)
        entry = await self._directory.find(vantage)
        if entry is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, unknown_vantage(vantage))
            raise AssertionError  # abort has raised
        return entry

    async def _with_own(
        self, text: str, context: _Context, work: Callable[[psycopg.Connection, UUID], _T]
    ) -> _T | None:
        """Do `work` with that lease, if the peer may speak for its vantage; None where there is none."""
        try:
            lease = UUID(text)
        except ValueError:
            return None
        auth = context.auth_context()

        def own(conn: psycopg.Connection) -> _T | None:
            vantage = lease_book.owner(conn, lease)
            if vantage is None:
                return None
            self._peers.identify(auth, vantage)
            return work(conn, lease)

        try:
            return await self._do(context, own)
        except Refused as refused:
            await context.abort(refused.status, str(refused))
            raise

    async def _do(
        self,
        context: _Context,
        work: Callable[[psycopg.Connection], _T],
        unheard: Callable[[_T], None] = lambda _: None,
    ) -> _T:
        """Run `work` on a connection in a thread; what nobody waits for any more goes to `unheard`."""
        until = time.monotonic() + _PATIENCE_S

        def run() -> _T:
            if time.monotonic() > until:
                raise _TooLate
            with self._database.pool.connection(timeout=_CONNECT_S) as conn:
                return work(conn)

        def late(done: Future[_T]) -> None:
            if not done.cancelled() and done.exception() is None:
                unheard(done.result())

        future = self._workers.submit(run)
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            if not future.cancel():
                future.add_done_callback(late)
            raise
        except (psycopg.Error, PoolTimeout, OSError, _TooLate) as error:
            why = str(error).splitlines()[0] if str(error) else "it is too busy"
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"no lease: the database can't be asked: {why}")
            raise

    def _give_back(self, answer: UUID | Denial) -> None:
        """Free what was granted to an agent that had stopped waiting: it can't know the lease."""
        if isinstance(answer, UUID):
            try:
                with self._database.pool.connection(timeout=_CONNECT_S) as conn:
                    lease_book.release(conn, answer)
            except (psycopg.Error, PoolTimeout, OSError) as error:
                _log.debug("lease_not_given_back", error=str(error))


def unknown_vantage(vantage: str) -> str:
    """Say what to do about a vantage that nobody knows. **Pure**."""
    return (
        f'vantage "{vantage}" is not in the inventory: add [[vantage]] with code = "{vantage}" to the '
        "fleet file and run `sonde-collector apply`"
    )


def _read(request: control_pb2.AcquireRequest) -> list[Resource]:
    """Give what is wanted, in bounds.

    Raises:
        ValueError: the request can't be meant; in words.
    """
    if not 1 <= len(request.wants) <= _MOST_WANTS:
        raise ValueError(f"a lease is for 1 to {_MOST_WANTS} things, not {len(request.wants)}")
    if len(request.instance) != _INSTANCE_BYTES:
        raise ValueError(f"instance is {len(request.instance)} bytes, not {_INSTANCE_BYTES}")
    wanted = resources(request.wants)
    for name in (request.server, *(resource.name for resource in wanted)):
        if not 1 <= len(name) <= _LONGEST or "\0" in name:
            raise ValueError(f"a name must have 1 to {_LONGEST} characters and no NUL")
    return wanted


def _evidence(request: control_pb2.ReleaseRequest) -> bool | None:
    if request.connected:
        return True
    return False if request.failure == results_pb2.FAILURE_AUTH else None


def _settle(request: control_pb2.ReleaseRequest) -> dt.timedelta | None:
    """Give how long the session counts yet; None where the run broke on our side, and said no goodbye."""
    died = request.failure == results_pb2.FAILURE_LOCAL and request.connected
    if died or request.failure == results_pb2.FAILURE_INTERNAL:
        return None
    return dt.timedelta(milliseconds=request.settle_ms)


def _ttl_ms() -> int:
    return round(TTL.total_seconds() * _MS)
