"""The service: constructs everything, starts it, and ends it in the right order. The only wiring."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from sonde_agent import VERSION, memory
from sonde_agent.agent_metrics import Sources, metrics_of
from sonde_agent.budget import Budget
from sonde_agent.capabilities import capabilities, tunnel_capabilities
from sonde_agent.checks.base import Context
from sonde_agent.checks.kinds import KINDS
from sonde_agent.clock import Clock
from sonde_agent.config import AgentConfig, spool_path
from sonde_agent.control.cache import AssignmentCache
from sonde_agent.control.client import ControlClient
from sonde_agent.control.leases import Leases
from sonde_agent.identity.renewal import Renewal
from sonde_agent.journal import Journal
from sonde_agent.metrics import Metric, MetricsServer
from sonde_agent.net.icmp import Engines
from sonde_agent.notify import Notifier
from sonde_agent.policy import Policy
from sonde_agent.readiness import Readiness
from sonde_agent.runner import Runner
from sonde_agent.spool import Spool, SpoolStats
from sonde_agent.tunnel.capacity import tunnels_here
from sonde_agent.tunnel.client import Tunnels
from sonde_agent.tunnel.helper_rules import Rules
from sonde_agent.uplink.channel import Channels, TlsFiles
from sonde_agent.uplink.client import Uplink
from sonde_agent.uplink.clock_exchange import ClockExchange
from sonde_agent.uplink.handshake import is_of_certificates
from sonde_agent.uplink.session import Identity
from sonde_proto.v1 import control_pb2, results_pb2

FINISH_WITHIN_S = 5.0
"""What runs when the service is told to stop gets this long: most pings and all HTTPS checks end by then."""

_SEND_LAST_WITHIN_S, _SEND_LAST_POLL_S = 2.0, 0.02  # a write takes the collector some 10 ms

_TUNNELS_EVERY_S = 60.0

_ANSWERS_EVERY_S = 1.0

_STATS_EVERY_S = 5.0  # counting what waits reads the spool: not for every scrape, and not on the event loop

log = structlog.get_logger()


def open_spool(config: AgentConfig) -> Spool:
    """Open the spool as configured.

    Raises:
        SpoolError: it can't be used; one clear message.
    """
    bounds = config.spool
    return Spool.open(
        spool_path(config), max_bytes=bounds.max_bytes, max_age_s=bounds.max_age, history_s=bounds.history
    )


async def serve(config: AgentConfig, path: Path | None = None) -> None:
    """Be the agent until SIGTERM or SIGINT.

    Args:
        config: what agent.toml says.
        path: where it is, for a tunnel helper of our own.

    Raises:
        SpoolError: the spool can't be used.
    """
    spool = await asyncio.to_thread(open_spool, config)
    try:
        app = App(config, spool, path)
        memory.give_back()
        await app.run()
    finally:
        await asyncio.to_thread(spool.close)


class App:
    """The parts of one running agent."""

    def __init__(self, config: AgentConfig, spool: Spool, path: Path | None) -> None:
        self._config = config
        self._spool = spool
        self._clock = Clock()
        self._started_us = self._clock.wall_us()
        self._stats: SpoolStats = spool.stats()
        self._tunnels = Tunnels(config.tunnels.helper, path)
        self._capabilities = capabilities(config)
        self._budget = Budget(config.state_dir / "budget.json", config.limits.throughput_day)
        self._notifier = Notifier()
        self._exchange = ClockExchange()
        self._engines = Engines()
        self._journal = Journal(spool)
        self._answered = asyncio.Event()
        tls = config.tls
        channels = Channels(
            config.collector,
            tls=TlsFiles(tls.ca, tls.cert, tls.key) if tls else None,
            proxy=config.proxy,
        )
        identity = Identity(config.vantage, VERSION, os.urandom(16))
        self._readiness = Readiness(
            self._clock,
            offset=self._exchange.best,
            on_health=self._keep_health,
            on_beat=lambda: self._notifier.alive(self._status()),
        )
        self._runner = Runner(
            vantage=config.vantage,
            clock=self._clock,
            kinds=KINDS,
            context=Context(
                icmp=self._engines,
                tunnels=self._tunnels,
                rules=Rules(config.credential, config.policy, config.tunnels, config.limits, config.unlock),
            ),
            policy=Policy(config.policy),
            journal=self._journal,
            limit=config.limits.concurrency,
            is_ready=lambda: self._readiness.ready,
            tunnels=tunnels_here(config.limits.tunnels),
            leases=Leases(channels, identity),
            budget=self._budget,
            limits=config.limits,
            utc_us=self._utc_us,
            on_answer=self._answered.set,
        )
        self._uplink = Uplink(spool, channels, identity, clock=self._exchange)
        self._renewal: Renewal | None = None
        if tls is not None and tls.enroll is not None and path is not None:
            self._renewal = Renewal(
                tls,
                path,
                wall_us=self._clock.wall_us,
                refused=lambda: is_of_certificates(self._uplink.state.last_error),
                on_renewed=channels.renewed,
            )
        self._control = ControlClient(
            channels,
            identity,
            AssignmentCache(config.state_dir / "assignment"),
            describe=self._describe,
            on_assignment=self._assign,
            on_runs=self._ask,
            clock=self._exchange,
        )

    async def run(self) -> None:
        """Run until a signal; then end schedule, runs, journal, uplink. The caller closes the spool."""
        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopping.set)
        journal = asyncio.create_task(self._journal.run(), name="journal")
        try:
            async with asyncio.TaskGroup() as group:
                services = [
                    group.create_task(service, name=name)
                    for name, service in (
                        ("readiness", self._readiness.run()),
                        ("uplink", self._uplink.run()),
                        ("control", self._control.run()),
                        ("metrics", self._serve_metrics()),
                        ("stats", self._keep_stats()),
                        ("tunnels", self._look_for_tunnels()),
                        ("answers", self._tell_answers()),
                        *([("renewal", self._renewal.run())] if self._renewal else []),
                    )
                ]
                group.create_task(self._runner.run(), name="runner")
                self._notifier.ready(self._status())
                log.info("started", vantage=self._config.vantage, capabilities=self._capabilities)
                await stopping.wait()
                self._notifier.stopping()
                log.info("stopping", running=self._runner.running)
                await self._runner.stop(FINISH_WITHIN_S)
                self._journal.close()
                await journal
                await self._send_last()
                for service in services:
                    service.cancel()
        finally:
            # After a defect in one service the results of the last moment still reach the disk.
            self._journal.close()
            await journal
            self._engines.close()
            self._tunnels.close()
            self._notifier.close()
        log.info("stopped")

    async def _send_last(self) -> None:
        """Give a collector that listens a moment for the last results; the rest waits on disk."""
        until = time.monotonic() + _SEND_LAST_WITHIN_S
        while self._uplink.state.connected and time.monotonic() < until:
            if not (await asyncio.to_thread(self._spool.stats)).rows:
                return
            await asyncio.sleep(_SEND_LAST_POLL_S)

    def _assign(self, assignment: control_pb2.Assignment) -> None:
        self._journal.measured_under(assignment.database_id, assignment.revision)
        self._budget.per_month = assignment.monthly_bytes
        self._runner.assign(assignment.tasks, assignment.pause if assignment.HasField("pause") else None)

    def _ask(self, requests: Sequence[control_pb2.RunRequest]) -> None:
        assignment = self._control.current
        self._runner.ask(requests, assignment.revision if assignment else 0)

    async def _tell_answers(self) -> None:
        """Tell the collector of new answers to its requests; many at once, not one by one."""
        while True:
            await self._answered.wait()
            self._answered.clear()
            self._control.changed()
            await asyncio.sleep(_ANSWERS_EVERY_S)

    def _utc_us(self) -> int:
        """UTC by the collector's clock, where it is known."""
        offset = self._exchange.best()
        return self._clock.wall_us() + (offset.offset_us if offset else 0)

    def _describe(self) -> control_pb2.AgentState:
        stats = self._stats
        state = control_pb2.AgentState(
            started_at_us=self._started_us,
            ready=self._readiness.ready,
            reason=self._readiness.reason,
            spool_rows=stats.rows,
            spool_bytes=stats.bytes,
            last_error=self._uplink.state.last_error or (self._renewal.last_error if self._renewal else ""),
            capabilities=self._capabilities,
            refused=self._runner.refusals.told,
            runs=self._runner.on_demand.answers(),
        )
        if stats.oldest_us is not None:
            state.spool_oldest_us = stats.oldest_us
        return state

    def _keep_health(self, result: results_pb2.Result) -> None:
        result.health.spool_rows = self._stats.rows
        result.health.spool_bytes = self._stats.bytes
        self._journal.add([result])

    def _status(self) -> str:
        link = "connected" if self._uplink.state.connected else self._uplink.state.last_error or "connecting"
        fit = self._readiness.reason or "ready"
        paused = f", paused: {self._runner.paused}" if self._runner.paused else ""
        return f"{self._runner.tasks} tasks, {self._stats.rows} results waiting, {link}, {fit}{paused}"

    async def _look_for_tunnels(self) -> None:
        """Ask until there is a helper: it may be installed, or started, after this agent."""
        while self._config.credential:
            found = await tunnel_capabilities(self._tunnels)
            if found:
                self._capabilities = [*self._capabilities, *found]
                self._control.changed()
                return
            await asyncio.sleep(_TUNNELS_EVERY_S)

    async def _keep_stats(self) -> None:
        told = False
        while True:
            self._stats = await asyncio.to_thread(self._spool.stats)
            if not told and self._exchange.best() is not None:
                # The first word was said before anything was sent; an operator should not read it for long.
                told = True
                self._control.changed()
            await asyncio.sleep(_STATS_EVERY_S)

    async def _serve_metrics(self) -> None:
        if not self._config.metrics:
            return
        try:
            await MetricsServer(self._metrics).run(self._config.metrics)
        except OSError as error:
            # Measuring does not depend on being watched.
            log.error("metrics_off", address=self._config.metrics, error=error.strerror or str(error))  # noqa: TRY400

    def _metrics(self) -> Iterator[Metric]:
        sources = Sources(
            runner=self._runner,
            stats=self._stats,
            uplink=self._uplink.state,
            readiness=self._readiness,
            control_connected=self._control.connected,
            started_us=self._started_us,
            now_us=self._clock.wall_us(),
            offset=self._exchange.best(),
            certificate_until_us=self._renewal.until_us if self._renewal else None,
        )
        return metrics_of(sources)
