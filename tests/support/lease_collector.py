"""A collector that serves Control, and time that passes for its leases."""

import contextlib
import datetime as dt
from collections.abc import AsyncIterator

import grpc
import psycopg
from prometheus_client import CollectorRegistry

from sonde_collector.control.directory import Directory
from sonde_collector.control.reports import Reports
from sonde_collector.control.run_requests import RunRequests
from sonde_collector.control.service import ControlService
from sonde_collector.db.pool import Database
from sonde_proto.v1 import control_pb2_grpc


class Running:
    """A collector that serves Control."""

    def __init__(self, url: str) -> None:
        self.registry = CollectorRegistry()
        self.database = Database(url)
        directory = Directory(self.database)
        self.service = ControlService(
            self.database,
            directory,
            Reports(self.database),
            self.registry,
            runs=RunRequests(self.database, directory),
        )
        self.address = ""
        self.channel: grpc.aio.Channel

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample; 0 where it was never set."""
        return self.registry.get_sample_value(name, labels) or 0.0


@contextlib.asynccontextmanager
async def serving(url: str, credentials: grpc.ServerCredentials | None = None) -> AsyncIterator[Running]:
    """A collector on 127.0.0.1, stopped at the end."""
    running = Running(url)
    server = grpc.aio.server()
    control_pb2_grpc.add_ControlServicer_to_server(running.service, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    running.address = f"127.0.0.1:{port}"
    await server.start()
    async with grpc.aio.insecure_channel(running.address) as running.channel:
        yield running
    await server.stop(1)
    running.service.stop_leases()
    running.database.close()


def age(conn: psycopg.Connection, seconds: float) -> None:
    """Lets time pass for all leases and lines: they are that much older."""
    conn.execute(
        "UPDATE sonde.leases SET granted_at = granted_at - %(s)s, expires_at = expires_at - %(s)s,"
        " free_at = free_at - %(s)s",
        {"s": dt.timedelta(seconds=seconds)},
    )
    conn.execute(
        "UPDATE sonde.lease_waits SET since = since - %(s)s, until = until - %(s)s",
        {"s": dt.timedelta(seconds=seconds)},
    )
