"""A webhook as an operator would have one: takes what the collector POSTs, and remembers it."""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Heard:
    """One notice, and when it came."""

    at: datetime
    notice: dict[str, Any]


class Webhook:
    """An HTTP server on a port of 127.0.0.1; `with Webhook() as webhook:` ends it."""

    def __init__(self) -> None:
        self._heard: list[Heard] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Where to POST."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    @property
    def heard(self) -> Sequence[Heard]:
        """All that came, in order."""
        return tuple(self._heard)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        heard = self._heard

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = min(int(self.headers.get("Content-Length", 0)), _MOST_BYTES)
                heard.append(Heard(datetime.now(UTC), json.loads(self.rfile.read(length))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing: the screen is the demo's."""

        return Handler
