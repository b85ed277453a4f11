"""The connection check: one tunnel run with its baseline, one row."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator

from sonde_agent.checks.base import Check, CheckImpossible, Context
from sonde_agent.checks.connection.pure import LONGEST_DETAIL, row_of, unlock_rows
from sonde_agent.checks.connection.verdict import OURS, Course
from sonde_agent.checks.unlock.resting import hold, note
from sonde_agent.net.dial import Deadline
from sonde_agent.net.resolve import family_of, host_lacks, resolve
from sonde_agent.tunnel.client import TunnelError, Tunnels
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2, tunnel_pb2
from sonde_proto.v1 import results_pb2 as pb

NO_TUNNELS = "this agent opens no tunnels"
_RESERVE_S = 3.0
"""Of a run's time, for the tunnel's end: its figures are of use, and a run that is cut yields none."""

_ECHOES = control_pb2.PingSpec(count=10, spacing_ms=200, wait_ms=2000, payload_bytes=16)


class ConnectionCheck:
    """Opens a tunnel, has the task's checks run inside, and measures the direct path beside it.

    Args:
        ping, throughput: the checks of the baseline.
    """

    kind = "connection"

    def __init__(self, *, ping: Check, throughput: Check) -> None:
        self._ping = ping
        self._throughput = throughput

    async def run(self, task: control_pb2.Task, context: Context) -> list[pb.Result]:
        """Measures once: first the row of the run, then the results of endpoint and unlock checks inside."""
        at_us = context.wall_us()
        inside, held = hold(task.connection.inside, task.target, context.courtesy, at_us)
        try:
            course = await (
                self._shake(task, context)
                if task.connection.handshake_only
                else _Run(task, inside, context, self).go()
            )
        except TunnelError as error:
            failed = self.failed(task, error.failure, pb.STAGE_NONE, at_us)
            failed.performance.detail = error.detail[:LONGEST_DETAIL]
            return [failed]
        row = row_of(task.connection, course)
        headline = pb.Result(measured_at_us=at_us, target=task.target, performance=row)
        endpoints = [result for _, result in course.inside if result.HasField("endpoint")]
        unlocks = unlock_rows(row, course)
        note(unlocks, task.target, context.courtesy)
        if row.connection_success:
            for one in held:
                one.protocol, one.credential = row.protocol, row.credential
            unlocks += held
        rows = [pb.Result(measured_at_us=at_us, target=task.target, unlock=one) for one in unlocks]
        return [headline, *endpoints, *rows]

    def failed(
        self,
        task: control_pb2.Task,
        failure: pb.Failure.ValueType,
        stage: pb.Stage.ValueType,
        at_us: int,
    ) -> pb.Result:
        """The result of a run that ended before it could say anything itself. **Pure.**"""
        spec = task.connection
        row = pb.Performance(failure=failure, stage=stage, protocol=spec.protocol, credential=spec.credential)
        if spec.family:
            row.family = spec.family
        if failure not in OURS:
            row.connection_success = False
        if spec.handshake_only:
            row.quality = Quality.HANDSHAKE_ONLY
        return pb.Result(measured_at_us=at_us, target=task.target, performance=row)

    async def _shake(self, task: control_pb2.Task, context: Context) -> Course:
        from sonde_agent.checks.connection import handshake  # noqa: PLC0415 -- it reads profiles, few agents do

        course, address = await handshake.shake(task, context)
        course.direct_ping = await self.echo(task, address, context)
        return course

    async def echo(self, task: control_pb2.Task, address: str, context: Context) -> pb.Performance | None:
        """Ping the server's host directly, as the plan pings inside; None = it can't be."""
        if not address:
            return None
        spec = next((one.ping for one in task.connection.inside if one.HasField("ping")), _ECHOES)
        echoes = control_pb2.Task(key=task.key, target=task.target, timeout_ms=task.timeout_ms, ping=spec)
        echoes.ping.host, echoes.ping.family, echoes.ping.success = address, 0, False
        try:
            return (await self._ping.run(echoes, context))[0].performance
        except CheckImpossible:
            return None

    async def transfer(
        self, task: control_pb2.Task, left_s: float, context: Context
    ) -> pb.Performance | None:
        """Run the transfer of the inside directly, within what is left of the run; None = it can't be."""
        inside = next((one for one in task.connection.inside if one.HasField("throughput")), None)
        if inside is None or left_s <= 0:
            return None
        direct = control_pb2.Task()
        direct.CopyFrom(inside)
        direct.timeout_ms = min(inside.timeout_ms, max(round(left_s * 1000), 1))
        try:
            return (await self._throughput.run(direct, context))[0].performance
        except CheckImpossible:
            return None


class _Run:
    """One run."""

    def __init__(
        self,
        task: control_pb2.Task,
        inside: list[control_pb2.Task],
        context: Context,
        check: ConnectionCheck,
    ) -> None:
        self._task, self._spec, self._context, self._check = task, task.connection, context, check
        self._inside = inside
        self._pieces = bytearray()
        self._kinds = {one.key: one.WhichOneof("spec") or "" for one in self._spec.inside}
        self._doing = ""
        self._pinged = ""
        self._ends = time.monotonic() + task.timeout_ms / 1000
        self.course = Course(protocol=self._spec.protocol)

    async def go(self) -> Course:
        """Measure; give what was seen.

        Raises:
            TunnelError: there is no helper, profile or permission.
        """
        tunnels = self._context.tunnels
        if tunnels is None:
            raise TunnelError(pb.FAILURE_PERMISSION, NO_TUNNELS)
        host = await self._host(tunnels)
        inside = [one.WhichOneof("spec") for one in self._spec.inside]
        loads_at_once = "throughput" in inside and inside[0] != "ping"
        left_s = self._ends - time.monotonic()
        failed = None
        try:
            async with asyncio.timeout(max(left_s - _RESERVE_S, left_s / 2)), asyncio.TaskGroup() as beside:
                baseline = beside.create_task(self._baseline(host))
                if loads_at_once:  # a baseline on a loaded path would be none
                    await baseline
                try:
                    await self._tunnel(tunnels, beside)
                except TunnelError as error:
                    failed = error  # alone, and not in the group's wrapping
                    baseline.cancel()
        except TimeoutError:
            return self.course
        if failed is not None:
            raise failed
        if self.course.up is not None and self._spec.direct_throughput:
            left_s = self._ends - time.monotonic()
            self.course.direct_throughput = await self._check.transfer(self._task, left_s, self._context)
        return self.course

    async def _host(self, tunnels: Tunnels) -> str:
        spec = self._spec
        if not spec.HasField("place"):
            described = await tunnels.describe(spec.credential, spec.profile)
            self.course.protocol = described.protocol
            return spec.direct_host or described.host
        return spec.direct_host or spec.place.host

    async def _baseline(self, host: str) -> None:
        """Ping the server before anything goes through its tunnel."""
        if self._context.refuse_name(host, None) is not None:
            return  # a profile's server, which only its helper knew until now
        address = await address_of(host, self._spec.family, self._task.timeout_ms / 1000)
        if address is not None and not self._pinged:
            self.course.family = family_of(address)
            await self._ping(address)

    async def _ping(self, address: str) -> None:
        self._pinged = address
        row = await self._check.echo(self._task, address, self._context)
        if self._pinged == address:
            self.course.direct_ping = row

    async def _tunnel(self, tunnels: Tunnels, beside: asyncio.TaskGroup) -> None:
        spec = self._spec
        request = tunnel_pb2.OpenTunnel(
            credential=spec.credential,
            profile=spec.profile,
            place=spec.place if spec.HasField("place") else None,
            family=spec.family,
            handshake_ms=spec.handshake_ms,
            exit_url=spec.exit_url,
            inside=self._inside,
            watch=self._context.watch is not None,
        )
        async with tunnels.open(request) as events:
            await self._follow(events, beside)

    async def _follow(self, events: AsyncIterator[tunnel_pb2.HelperEvent], beside: asyncio.TaskGroup) -> None:
        course = self.course
        async for event in events:
            match event.WhichOneof("event"):
                case "stage":
                    course.stages[event.stage.stage] = event.stage.ms
                case "up":
                    course.up = event.up
                    self._begin_beside(event.up, beside)
                case "task":
                    self._doing = event.task.key
                case "result":
                    course.inside.append((self._kinds.get(self._doing, ""), event.result))
                case "watched":
                    self._watch(event.watched)
                case "ended":
                    course.ended = event.ended
                    if course.up is None and event.ended.stage == pb.STAGE_FIRST_BYTE:
                        beside.create_task(self._doubt_exit())
                case _:
                    continue
            self._say(event)

    def _begin_beside(self, up: tunnel_pb2.TunnelUp, beside: asyncio.TaskGroup) -> None:
        """Begin what is measured without the tunnel as soon as it stands."""
        if not self._spec.direct_host and up.server_address != self._pinged:
            beside.create_task(self._ping(up.server_address))
        if up.exit_address:
            beside.create_task(self._learn_own(up.exit_address))

    def _watch(self, watched: tunnel_pb2.Watched) -> None:
        self._pieces += watched.piece
        if watched.last and self._context.watch is not None:
            self._context.watch(json.loads(self._pieces))
            self._pieces.clear()

    async def _learn_own(self, exit_address: str) -> None:
        family = family_of(exit_address)
        if host_lacks(family):
            self.course.own_family = False
            return
        own = await self._context.own_address.ask(self._spec.exit_url, family, self._context.refuse)
        self.course.own_address = own

    async def _doubt_exit(self) -> None:
        """The exit's URL was silent through the tunnel: its fault only if the URL answers directly."""
        self.course.exit_silent = True
        answers = await self._context.own_address.answers(self._spec.exit_url, self._context.refuse)
        self.course.exit_silent = not answers

    def _say(self, event: tunnel_pb2.HelperEvent) -> None:
        match event.WhichOneof("event"):
            case "stage":
                name = pb.Stage.Name(event.stage.stage).removeprefix("STAGE_").lower().replace("_", " ")
                self._context.progress(f"{name} {event.stage.ms:.1f} ms")
            case "up":
                self._context.progress(f"tunnel up by {event.up.backend}, {event.up.connection_ms:.1f} ms")
            case "task":
                self._context.progress(f"{self._kinds.get(event.task.key, 'check')} through the tunnel")


async def address_of(host: str, family: int, within_s: float) -> str | None:
    """Give the first address of `host`; None = there is none, or no answer in time."""
    deadline = Deadline(within_s)
    try:
        return (await asyncio.to_thread(resolve, host, family, deadline)).addresses[0]
    except (socket.gaierror, TimeoutError):
        return None
    finally:
        deadline.cancel()
