"""The read API on the collector's HTTP port: each request's way from its parameters to its answer."""

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from urllib.parse import urlencode

import psycopg
import structlog
from prometheus_client import CollectorRegistry, Counter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sonde_collector.read.api import index, openapi
from sonde_collector.read.api.answer import JSON, Answer, Wanted, answer, problem, written
from sonde_collector.read.api.operation import Operation, Values
from sonde_collector.read.api.parameters import BadParameter, read, shown
from sonde_collector.read.api.reader import Away, Busy, Connection, Reader, TooSlow
from sonde_collector.read.api.resources import operations
from sonde_collector.read.exposition import PARAMETERS, TEXT, exposition
from sonde_collector.read.lookup import UnknownName
from sonde_collector.read.ranges import Kept

_HTML = "text/html; charset=utf-8"
_log = structlog.get_logger()
Work = Callable[[Connection], Answer]


class Api:
    """The read API of one collector.

    Args:
        reader: what queries run on.
        registry: where requests are counted.
        most_series: of /metrics/targets.
        kept: how long the tiers stay in the database.
    """

    def __init__(self, reader: Reader, registry: CollectorRegistry, *, most_series: int, kept: Kept) -> None:
        self._reader = reader
        self._most_series = most_series
        self._counted = Counter(
            "sonde_api_requests",
            "Requests by operation and status",
            ["operation", "status"],
            registry=registry,
        )
        self._operations = operations(kept)
        name = version("sonde-collector")
        self._document = written(openapi.document(self._operations, name))
        self._page = index.page(self._operations, name)

    def routes(self) -> list[Route]:
        """Give all paths."""
        return [
            self._fixed("/", self._page, _HTML),
            self._fixed("/openapi.json", self._document, JSON),
            *(Route(each.path, partial(self._operation, each)) for each in self._operations),
            Route("/metrics/targets", self._targets),
        ]

    def _fixed(self, path: str, body: bytes, media_type: str) -> Route:
        async def give(request: Request) -> Response:
            return self._count(path, answer(body, media_type, _wanted(request)))

        return Route(path, give)

    async def _operation(self, operation: Operation, request: Request) -> Response:
        def prepare() -> Work:
            pairs = request.query_params.multi_items()
            values = read(operation.takes, request.path_params, pairs)
            asked, given = operation.begin(request.url.path, values)
            return partial(_work, operation, request, values, (asked, given))

        return await self._serve(operation.name, prepare)

    async def _targets(self, request: Request) -> Response:
        def prepare() -> Work:
            values = read(PARAMETERS, {}, request.query_params.multi_items())
            wanted = _wanted(request)

            def work(conn: Connection) -> Answer:
                return answer(exposition(conn, values, self._most_series), TEXT, wanted)

            return work

        return await self._serve("metricsTargets", prepare)

    async def _serve(self, name: str, prepare: Callable[[], Work]) -> Response:
        try:
            given = await self._reader.run(prepare())
        except BadParameter as error:
            given = bad(error)
        except UnknownName as error:
            given = problem(404, "Not found", shown(str(error)))
        except Busy:
            given = problem(503, "Busy", "too many questions at once", headers={"Retry-After": "1"})
        except TooSlow:
            detail = "the database took longer than it may; ask for less"
            given = problem(503, "Too slow", detail, headers={"Retry-After": "5"})
        except Away:
            detail = "the database can't be asked now"
            given = problem(503, "Database away", detail, headers={"Retry-After": "5"})
        except (psycopg.Error, ArithmeticError, LookupError, TypeError, ValueError) as error:
            # A mistake of ours: told to the operator in full, to the reader as what it is.
            _log.exception("api_failed", operation=name, error=type(error).__name__)
            given = problem(500, "Mistake of the collector", "its log says more")
        return self._count(name, given)

    def _count(self, name: str, given: Answer) -> Response:
        self._counted.labels(name, str(given.status)).inc()
        return response(given)


def response(given: Answer) -> Response:
    """Give an answer as Starlette sends it."""
    return Response(given.body, given.status, given.headers)


def bad(error: BadParameter) -> Answer:
    """Give what a bad parameter is answered with."""
    return problem(400, "Bad parameter", error.detail, error.parameter)


async def http_problem(request: Request, error: Exception) -> Response:
    """Answer what no route takes: an unknown path, or another method."""
    assert isinstance(error, HTTPException)
    where = shown(request.url.path)
    title, detail = {
        404: ("Not found", f'there is no "{where}"; "/" lists what there is'),
        405: ("Method not allowed", "this API only reads: GET and HEAD"),
    }.get(error.status_code, ("Bad request", error.detail))
    return response(problem(error.status_code, title, detail, headers=error.headers))


def _work(
    operation: Operation, request: Request, values: Values, begun: tuple[str, Values], conn: Connection
) -> Answer:
    """Ask the database and write the answer, in the reader's thread."""
    asked, given = begun
    found = operation.run(conn, given)
    if found is None:
        what = shown(str(values.get("key", "")))
        return problem(404, "Not found", f'there is no {operation.missing} "{what}"', "key")
    body = operation.body(asked, values.get("limit", 0), found)
    headers = {}
    if body.get("next") and operation.order:
        pairs = [pair for pair in request.query_params.multi_items() if pair[0] != "after"]
        target = f"{request.url.path}?{urlencode([*pairs, ('after', body['next'])])}"
        headers["Link"] = f'<{target}>; rel="next"'
    return answer(written(body), JSON, _wanted(request), headers)


def _wanted(request: Request) -> Wanted:
    headers = request.headers
    return Wanted(headers.get("accept-encoding", ""), headers.get("if-none-match", ""))
