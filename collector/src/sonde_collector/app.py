"""The collector as a service: the only place that makes the parts and joins them."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Coroutine
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from sonde_collector import systemd
from sonde_collector.config import CollectorConfig
from sonde_collector.control.directory import Directory
from sonde_collector.control.reports import Reports
from sonde_collector.control.run_requests import RunRequests
from sonde_collector.control.service import ControlService
from sonde_collector.db import migrate
from sonde_collector.db.errors import SchemaMissing, SchemaTooOld
from sonde_collector.db.pool import EMBEDDED, SERVING, Database, open_database
from sonde_collector.health.loop import keep_health
from sonde_collector.identity import Peers
from sonde_collector.ingest.metrics import IngestMetrics
from sonde_collector.ingest.service import SERVER_OPTIONS, IngestService
from sonde_collector.ingest.settings import IngestSettings
from sonde_collector.ingest.writer import Writer
from sonde_collector.limits.calls import CallLimits
from sonde_collector.limits.keep import LimitsKept
from sonde_collector.limits.vantages import Vantages
from sonde_collector.maintain.fleet_events import keep_fleet_events
from sonde_collector.maintain.judge import keep_judging
from sonde_collector.maintain.loop import ensure_partitions, keep_partitions
from sonde_collector.maintain.retention import keep_retention
from sonde_collector.maintain.rollup import PATIENT, SOON, keep_rollups
from sonde_collector.maintain.stalled import keep_unstalled
from sonde_collector.maintain.turns import Turns
from sonde_collector.notify.dispatch import keep_notices
from sonde_collector.notify.heartbeat import keep_heartbeat
from sonde_collector.pki.port import enrol_server
from sonde_collector.pki.revoked import Revoked
from sonde_collector.pki.server_tls import TlsError, agents_credentials, keep_http_certificate
from sonde_collector.read.http import HttpPort
from sonde_collector.read.listen import StartError
from sonde_collector.read.metrics import Metrics
from sonde_collector.read.probes import Readiness
from sonde_proto.v1 import control_pb2, control_pb2_grpc, ingest_pb2

__all__ = ["StartError", "serve"]

_SERVICES = tuple(
    file.services_by_name[name].full_name
    for file, name in ((ingest_pb2.DESCRIPTOR, "Ingest"), (control_pb2.DESCRIPTOR, "Control"))
)
_OPTIONS = (
    *SERVER_OPTIONS,
    # Without it a second collector on the same port would share it silently, and take half of the agents.
    ("grpc.so_reuseport", 0),
    # gRPC keeps for each connection a buffer of a TLS record [bytes], and a record of what happened to it.
    ("grpc.tsi.max_frame_size", 4096),
    ("grpc.enable_channelz", 0),
)
_LAST_CALLS_S = 1.0  # for health and reflection calls that are open when everything else has ended
_AGED_S = 2.0  # for calls without an end, which do not hear that their connection is to end
_HEALTH_EVERY_S = 5.0
_log = structlog.get_logger()


def serve(config: CollectorConfig) -> None:
    """Run the collector until SIGTERM or SIGINT.

    Raises:
        StartError: an address can't be listened on, or a certificate can't be used.
        DatabaseError: the database can't be used.
    """
    name = f"{SERVING}{_place(config)}"
    with open_database(config.database.url, config.state_dir, check_schema=False, name=name) as database:
        _make_ready(database, config)
        asyncio.run(_Collector(config, database).run())


def _place(config: CollectorConfig) -> str:
    """Give which collector this is among others on one database: host, and port where there is one."""
    host, first = socket.gethostname(), config.grpc.listen[0]
    return host if first.startswith("unix:") else f"{host}:{first.rpartition(':')[2]}"


def _make_ready(database: Database, config: CollectorConfig) -> None:
    """See to schema and partitions before any agent can connect."""
    with database.connect(autocommit=True) as conn:
        if config.database.url == EMBEDDED:
            if applied := migrate.migrate(conn):
                _log.info("migrated", applied=applied)
        else:
            try:
                migrate.check(conn)
            except (SchemaMissing, SchemaTooOld) as error:
                raise type(error)(
                    f"{error} (a shared database changes when its operator "
                    "says so, not because a collector starts)"
                ) from None
    if made := ensure_partitions(database, config.partitions):
        _log.info("partitions_made", names=made)


class _Collector:
    """Every part of one running collector."""

    def __init__(self, config: CollectorConfig, database: Database) -> None:
        self._config = config
        self._database = database
        self._metrics = Metrics(database)
        self._turns = Turns(self._metrics.registry, [step.name for step in (*SOON, *PATIENT)])
        counted = IngestMetrics(self._metrics.registry)
        writer = Writer(database, _ingest_settings(config), counted)
        peers = Peers()
        self._revoked = Revoked(database, peers)
        self._vantages = Vantages(config.limits)
        self._limits = LimitsKept(database, self._vantages, self._metrics.registry)
        self._ingest = IngestService(database, writer, counted, peers, self._vantages)
        self._directory = Directory(database)
        self._reports = Reports(database, _place(config))
        self._runs = RunRequests(database, self._directory)
        self._control = ControlService(
            database,
            self._directory,
            self._reports,
            self._metrics.registry,
            peers,
            runs=self._runs,
            vantages=self._vantages,
        )
        self._readiness = Readiness(database, writer.stuck)
        self._health = health.aio.HealthServicer()
        self._http = HttpPort(config, database, self._metrics, self._readiness)

    async def run(self) -> None:
        """Serve until a signal comes, then stop in order."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await self._directory.refresh()
        await self._revoked.refresh()
        with self._http.listen() as listener, contextlib.closing(self._http):
            http = self._http.server()
            server, enrol = self._grpc_server(), enrol_server(self._config, self._database)
            self._ingest.start()
            await server.start()
            if enrol is not None:
                await enrol.start()
            done = self._turns.of
            background: list[Coroutine[Any, Any, None]] = [
                http.serve(sockets=[listener]),
                self._directory.run(),
                self._revoked.run(),
                keep_http_certificate(self._config.http, lambda: http.config.ssl if http.started else None),
                self._reports.run(),
                self._limits.run(),
                self._runs.run(),
                self._runs.keep_answers(),
                self._follow_readiness(),
                keep_partitions(self._database, self._config.partitions, done("partitions")),
                keep_rollups(self._database, self._turns),
                keep_judging(self._database, done("judging")),
                self._http.book.keep_uses(),
                keep_notices(self._database, done("notices")),
                keep_fleet_events(
                    self._database, self._config.watch, self._config.state_dir, done("fleet_events")
                ),
                keep_heartbeat(self._config.heartbeat, self._readiness.checks),
                keep_retention(self._database, self._config, done("retention")),
                keep_health(self._database, done("health")),
                keep_unstalled(self._database),
                systemd.keep_watched(),
            ]
            async with asyncio.TaskGroup() as group:
                serving, *tasks = [group.create_task(each) for each in background]
                systemd.notify("READY=1")
                _log.info(
                    "serving", grpc=list(self._config.grpc.listen), http=self._config.http.listen,
                    enroll=self._config.enroll.listen if enrol is not None else "off",
                )  # fmt: skip
                await stop.wait()
                systemd.notify("STOPPING=1")
                _log.info("stopping")
                if enrol is not None:
                    await enrol.stop(_LAST_CALLS_S)
                await self._stop(server)
                http.should_exit = True
                for task in tasks:
                    task.cancel()
                await serving
        _log.info("stopped")

    async def _stop(self, server: grpc.aio.Server) -> None:
        """End in order: no new batches, acks for what is committed, nothing else."""
        self._readiness.stopping = True
        await self._health.enter_graceful_shutdown()
        self._control.stop()
        await self._ingest.stop()
        await self._reports.flush()
        await self._runs.flush()
        await server.stop(_LAST_CALLS_S)
        self._control.stop_leases()

    def _grpc_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(
            interceptors=[CallLimits(self._vantages)],
            options=(*_OPTIONS, *_ageing(self._config.grpc.connection_age)),
        )
        self._ingest.add_to(server)
        control_pb2_grpc.add_ControlServicer_to_server(self._control, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, server)
        try:
            credentials = agents_credentials(self._config.grpc)
        except TlsError as error:
            raise StartError(
                "grpc.tls_cert, tls_key, client_ca: not a certificate, its own key and a CA, all in PEM: "
                f"{error}"
            ) from None
        for listen in self._config.grpc.listen:
            try:
                if credentials is not None and not listen.startswith("unix:"):
                    server.add_secure_port(listen, credentials)
                else:
                    server.add_insecure_port(listen)
            except RuntimeError:
                raise StartError(
                    f'grpc.listen: can\'t listen on "{listen}": it is in use, or not an address of this host'
                ) from None
        return server

    async def _follow_readiness(self) -> None:
        """Keep grpc.health.v1 as /readyz says, and tell each change once."""
        before: bool | None = None
        while True:
            checks = await self._readiness.checks()
            wrong = {name: why for name, why in checks.items() if why}
            if (not wrong) != before:
                status = (
                    health_pb2.HealthCheckResponse.NOT_SERVING
                    if wrong
                    else health_pb2.HealthCheckResponse.SERVING
                )
                for name in ("", *_SERVICES):
                    await self._health.set(name, status)
                if wrong:
                    _log.warning("not_ready", **wrong)
                elif before is not None:
                    _log.info("ready_again")
            before = not wrong
            await asyncio.sleep(_HEALTH_EVERY_S)


def _ageing(age_s: float | None) -> tuple[tuple[str, int], ...]:
    """Give the options by which connections end at an age; gRPC spreads them by a tenth."""
    if age_s is None:
        return ()
    return (
        ("grpc.max_connection_age_ms", int(age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int(_AGED_S * 1000)),
    )


def _ingest_settings(config: CollectorConfig) -> IngestSettings:
    return IngestSettings(
        fk_check=config.ingest.fk_check,
        writers=config.ingest.writers,
        max_batch_rows=config.ingest.max_batch_rows,
        retention_s=config.retention.raw,
        partition_every=config.partitions.every,
    )
