"""The proxy of `support.proxy` in a thread of its own, for tests that are not asynchronous."""

import asyncio
import threading
from collections.abc import Callable

from support.proxy import Proxy


class ThreadedProxy:
    """A running proxy. Every call takes effect before it returns."""

    def __init__(self, upstream_port: int) -> None:
        self._proxy = Proxy(upstream_port)
        self._loop = asyncio.new_event_loop()
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)

    @property
    def port(self) -> int:
        """Where clients connect to."""
        return self._proxy.port

    def lead_to(self, upstream_port: int) -> None:
        """New connections go to another server."""
        self._call(lambda: setattr(self._proxy, "upstream_port", upstream_port))

    def mute(self) -> None:
        """What the server answers no longer arrives."""
        self._call(lambda: setattr(self._proxy, "mute", True))

    def cut(self) -> None:
        """Resets all connections; new ones are accepted."""
        self._call(self._proxy.cut)

    def half_open(self) -> None:
        """Present connections hang for ever, unnoticed by the server; new ones work."""
        self._call(self._proxy.half_open)

    def heal(self) -> None:
        """Passes everything on again."""
        self._call(lambda: setattr(self._proxy, "mute", False))

    def close(self) -> None:
        """Ends everything."""
        asyncio.run_coroutine_threadsafe(self._proxy.close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _call(self, act: Callable[[], None]) -> None:
        async def now() -> None:
            act()

        asyncio.run_coroutine_threadsafe(now(), self._loop).result(10)

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._proxy.accept, "127.0.0.1", 0))
        self._proxy.port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()
        server.close()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
