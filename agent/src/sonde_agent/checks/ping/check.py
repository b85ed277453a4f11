"""The ping check: one host, a few echoes, one row of figures."""

from __future__ import annotations

import asyncio
import errno
import socket

from sonde_agent.checks.base import CheckImpossible, Context
from sonde_agent.checks.ping.pure import summarise
from sonde_agent.net.dial import Deadline
from sonde_agent.net.icmp import Echoes, IcmpClosed
from sonde_agent.net.resolve import family_of, host_lacks, resolve
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

_NS_PER_MS = 1_000_000
_NO_SUCH_ADDRESS = (socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY)
_NO_WAY_OUT = frozenset((errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))
_OURS = frozenset((pb.FAILURE_LOCAL, pb.FAILURE_UNSUPPORTED, pb.FAILURE_POLICY, pb.FAILURE_INTERNAL))


class PingCheck:
    """Pings a host and tells RTT, its variation and loss."""

    kind = "ping"

    async def run(self, task: control_pb2.Task, context: Context) -> list[pb.Result]:
        """Measures once; always one result, see `Check.run`."""
        spec, at_us = task.ping, context.wall_us()
        deadline = Deadline(task.timeout_ms / 1000)
        try:
            address = await _address(spec, deadline)
        except (socket.gaierror, TimeoutError) as error:
            known = isinstance(error, socket.gaierror) and error.errno in _NO_SUCH_ADDRESS
            failure = pb.FAILURE_NO_ADDRESS if known else pb.FAILURE_DNS
            return [self.failed(task, failure, pb.STAGE_RESOLVE, at_us)]
        if context.refuse(address, None) is not None:
            return [self.failed(task, pb.FAILURE_POLICY, pb.STAGE_RESOLVE, at_us)]
        try:
            echoes = await context.icmp.engine(family_of(address)).ping(
                address,
                count=spec.count,
                spacing_s=spec.spacing_ms / 1000,
                wait_s=spec.wait_ms / 1000,
                payload_bytes=spec.payload_bytes,
            )
        except (IcmpClosed, ValueError) as error:
            raise CheckImpossible(str(error)) from None
        performance = performance_of(spec, echoes)
        return [pb.Result(measured_at_us=at_us, target=task.target, performance=performance)]

    def failed(
        self,
        task: control_pb2.Task,
        failure: pb.Failure.ValueType,
        stage: pb.Stage.ValueType,
        at_us: int,
    ) -> pb.Result:
        """The result of a run that ended before it could say anything itself. **Pure.**"""
        performance = pb.Performance(failure=failure, stage=stage)
        if task.ping.family:
            performance.family = task.ping.family
        _judge(task.ping, performance)
        return pb.Result(measured_at_us=at_us, target=task.target, performance=performance)


async def _address(spec: control_pb2.PingSpec, deadline: Deadline) -> str:
    if family_of(spec.host):
        return resolve(spec.host, spec.family, deadline).addresses[0]  # an address: nobody is asked
    return (await asyncio.to_thread(resolve, spec.host, spec.family, deadline)).addresses[0]


def performance_of(spec: control_pb2.PingSpec, echoes: Echoes) -> pb.Performance:
    """The row of figures that a run of echoes gives."""
    untimed = {i for i in echoes.stepped if echoes.rx_ns[i]}
    figures = summarise(
        echoes.rtts_ns(), wait_ns=spec.wait_ms * _NS_PER_MS, unsent=echoes.send_errors, untimed=untimed
    )
    performance = pb.Performance(
        family=echoes.family,
        sent=figures.sent,
        received=figures.received,
        duplicates=echoes.duplicates,
        late=figures.late,
        send_errors=len(echoes.send_errors),
        packet_loss_pct=figures.loss_pct,
        ping_ms=figures.rtt_p50,
        jitter_ms=figures.jitter_rfc3550,
        rtt_min_ms=figures.rtt_min,
        rtt_mean_ms=figures.rtt_mean,
        rtt_p95_ms=figures.rtt_p95,
        rtt_max_ms=figures.rtt_max,
        rtt_stddev_ms=figures.rtt_stddev,
        ipdv_mean_abs_ms=figures.ipdv_mean_abs,
        ipdv_pairs=figures.ipdv_pairs,
        pdv_p95_ms=figures.pdv_p95,
        ttl=echoes.ttl,
    )
    if not figures.received:
        performance.failure = _failure(echoes)
        performance.stage = pb.STAGE_TRANSPORT
    if quality := _quality(echoes):
        performance.quality = quality
    _judge(spec, performance)
    return performance


def _failure(echoes: Echoes) -> pb.Failure.ValueType:
    refused = set(echoes.send_errors.values())
    if len(echoes.send_errors) == len(echoes.tx_ns):
        if refused <= _NO_WAY_OUT and host_lacks(echoes.family):
            return pb.FAILURE_UNSUPPORTED
        return pb.FAILURE_LOCAL
    return pb.FAILURE_UNREACHABLE if echoes.icmp_errors else pb.FAILURE_TIMEOUT


def _quality(echoes: Echoes) -> int:
    quality = Quality(0)
    if echoes.user_stamped:
        quality |= Quality.USER_STAMPS
    if echoes.stepped:
        quality |= Quality.CLOCK_STEPPED
    if echoes.raw:
        quality |= Quality.RAW_SOCKET
    if echoes.dropped:
        quality |= Quality.CPU_LIMITED
    return quality


def _judge(spec: control_pb2.PingSpec, performance: pb.Performance) -> None:
    """Where the plan says that a reply is success: yes, no, or nothing where the failure was ours."""
    if spec.success and not (performance.HasField("failure") and performance.failure in _OURS):
        performance.connection_success = performance.received > 0
        performance.quality |= Quality.SUCCESS_BY_PING
