"""/metrics in the Prometheus text format, and /healthz, on loopback: a few lines of HTTP/1.0, no library.

Source: Prometheus text exposition format 0.0.4.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sonde_agent.config import split_address

_READ_WITHIN_S = 5.0
_LONGEST_REQUEST = 8192
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure at one moment.

    Attributes:
        name: without the prefix `sonde_agent_`, with its unit; counters end in _total.
        help: what it says.
        values: (labels, value); a figure without labels has one with none.
    """

    name: str
    help: str
    values: Iterable[tuple[dict[str, str], float]] = field(default_factory=tuple)


def render(metrics: Iterable[Metric]) -> str:
    """Give metrics as Prometheus reads them. Pure."""
    lines = []
    for metric in metrics:
        name = f"sonde_agent_{metric.name}"
        kind = "counter" if name.endswith("_total") else "gauge"
        lines += [f"# HELP {name} {metric.help}", f"# TYPE {name} {kind}"]
        for labels, value in metric.values:
            inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            lines.append(f"{name}{{{inner}}} {value:.17g}" if inner else f"{name} {value:.17g}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class MetricsServer:
    """Answers GET /metrics and GET /healthz.

    Args:
        collect: gives the figures of the moment.
    """

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self._collect = collect

    async def run(self, address: str) -> None:
        """Serve on `address` until cancelled.

        Raises:
            OSError: the address can't be listened on.
        """
        host, port = split_address(address)
        server = await asyncio.start_server(self._answer, host, port, limit=_LONGEST_REQUEST)
        async with server:
            await server.serve_forever()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(
            OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(_READ_WITHIN_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._response(head.split(b"\r\n", 1)[0].decode("latin-1")))
                await writer.drain()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    def _response(self, request_line: str) -> bytes:
        method, _, rest = request_line.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        status, body = "200 OK", "ok\n"
        if method not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", "only GET\n"
        elif path == "/metrics":
            body = render(self._collect())
        elif path != "/healthz":
            status, body = "404 Not Found", "there are /metrics and /healthz\n"
        payload = body.encode()
        head = (
            f"HTTP/1.0 {status}\r\nContent-Type: {_TEXT}\r\nContent-Length: {len(payload)}\r\n\r\n".encode()
        )
        return head if method == "HEAD" else head + payload
