"""A TCP proxy that can be made to fail: cut, deaf, refusing, slow to answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Proxy:
    """Stands between a client and 127.0.0.1:`upstream_port`.

    Attributes:
        port: where clients connect to.
        connections: how many were accepted since the start.
        deaf: take bytes from both sides and pass none on; the connection stays open, as a dead path does.
        mute: pass on what the client says, but nothing of what the server answers.
        upstream_port: where new connections are led to.
        refuse: close each new connection at once.
        cut_after_bytes: close a connection once the client has sent so many bytes; None = never.
    """

    def __init__(self, upstream_port: int) -> None:
        self.port = 0
        self.connections = 0
        self.deaf = False
        self.mute = False
        self.refuse = False
        self.cut_after_bytes: int | None = None
        self.upstream_port = upstream_port
        self._era = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until either side ends."""
        self.connections += 1
        if self.refuse:
            writer.close()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, up_writer}
        pumps = {
            asyncio.create_task(self._pump(reader, up_writer, to_server=True)),
            asyncio.create_task(self._pump(up_reader, writer, to_server=False)),
        }
        self._tasks |= pumps
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        for each in (writer, up_writer):
            each.close()
        self._writers -= {writer, up_writer}
        await asyncio.wait(pumps)
        self._tasks -= pumps

    def half_open(self) -> None:
        """What is connected now passes nothing on any more, not even its end; new connections work."""
        self._era += 1

    def cut(self) -> None:
        """Reset all connections; new ones are accepted."""
        for writer in self._writers:
            writer.transport.abort()

    async def close(self) -> None:
        """End everything."""
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_server: bool
    ) -> None:
        passed, era = 0, self._era
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                passed += len(data)
                if to_server and self.cut_after_bytes is not None and passed > self.cut_after_bytes:
                    writer.transport.abort()
                    return
                if era == self._era and not self.deaf and (to_server or not self.mute):
                    writer.write(data)
                    await writer.drain()
        if era != self._era:
            await asyncio.Event().wait()  # until `close` cancels it: the other side never hears of the end


@asynccontextmanager
async def proxy(upstream_port: int) -> AsyncIterator[Proxy]:
    """A running proxy on a port of its own."""
    running = Proxy(upstream_port)
    server = await asyncio.start_server(running.accept, "127.0.0.1", 0)
    running.port = server.sockets[0].getsockname()[1]
    try:
        yield running
    finally:
        server.close()
        await running.close()
