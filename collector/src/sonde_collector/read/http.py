"""The collector's HTTP port: probes, metrics and the read API behind one door."""

import socket

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sonde_collector.access.book import KeyBook
from sonde_collector.config import CollectorConfig
from sonde_collector.config_rules import split_address
from sonde_collector.db.pool import Database
from sonde_collector.read.api.guard import ADMITTED, Door, Guard
from sonde_collector.read.api.reader import Reader
from sonde_collector.read.api.serve import Api, http_problem
from sonde_collector.read.listen import http_server, listen_http
from sonde_collector.read.metrics import CONTENT_TYPE, Metrics
from sonde_collector.read.probes import Readiness
from sonde_collector.read.process_figures import ProcessFigures
from sonde_collector.read.ranges import Kept


class HttpPort:
    """Everything that this collector answers by HTTP.

    Attributes:
        book: the keys of readers.
    """

    def __init__(
        self, config: CollectorConfig, database: Database, metrics: Metrics, readiness: Readiness
    ) -> None:
        self._config = config
        self._metrics = metrics
        self._figures = ProcessFigures(config)
        metrics.registry.register(self._figures)
        self._readiness = readiness
        self.book = KeyBook(database)
        settings = config.api
        self._reader = Reader(
            database.url, connections=settings.connections, timeout_s=settings.statement_timeout
        )
        kept = Kept.by(config.retention)
        self._api = Api(self._reader, metrics.registry, most_series=settings.metrics_series, kept=kept)

    def listen(self) -> socket.socket:
        """Give the listening socket.

        Raises:
            StartError: the address can't be had.
        """
        return listen_http(self._config.http.listen)

    def server(self) -> uvicorn.Server:
        """Give what serves it.

        Raises:
            StartError: the certificate can't be used.
        """
        return http_server(self._config.http, self._app())

    def close(self) -> None:
        """Close the readers' connections."""
        self._reader.close()

    def _app(self) -> Guard:
        app = Starlette(
            routes=[
                Route("/healthz", self._healthz),
                Route("/readyz", self._readyz),
                Route("/metrics", self._show_metrics),
                *self._api.routes(),
            ],
            exception_handlers={HTTPException: http_problem},
        )
        app.router.redirect_slashes = False
        host, _ = split_address(self._config.http.listen)
        door = Door(anonymous=self._config.api.anonymous == "loopback", listens=host)
        return Guard(app, door=door, book=self.book)

    async def _healthz(self, _: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        checks = await self._readiness.checks()
        ready = not any(checks.values())
        body: dict[str, object] = {"ready": ready}
        if request.scope[ADMITTED]:  # reasons name hosts and users: strangers learn yes or no
            body["checks"] = {name: why or "ok" for name, why in checks.items()}
        return JSONResponse(body, status_code=200 if ready else 503)

    async def _show_metrics(self, _: Request) -> Response:
        self._figures.checks = await self._readiness.checks()
        return Response(await self._metrics.text(), media_type=CONTENT_TYPE)
