"""Takes connections, reads requests, and answers as the world says."""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress

from sonde_lab.world import http
from sonde_lab.world.greet import greet
from sonde_lab.world.http import Asked, NotHttp
from sonde_lab.world.play import Caller, Play
from sonde_unlock.cassette import Fault, FaultKind, Reply

_TLS_WITHIN_S = 10.0
_IDLE_S = 60.0
_HANDSHAKE_FAILURE = bytes((21, 3, 3, 0, 2, 2, 40))
"""A record that holds a fatal alert (RFC 8446 §6)."""
_AT_ONCE = struct.pack("ii", 1, 0)  # linger of 0 s: closing sends a reset


class Server:
    """Serves until its loop ends.

    Args:
        context: gives what speaks TLS as a name.
        play: the world.
    """

    def __init__(self, context: Callable[[str], ssl.SSLContext], play: Play) -> None:
        self._context, self._play = context, play
        self._tasks: set[asyncio.Task[None]] = set()

    def listen(self, address: str, port: int, *, tls: bool) -> int:
        """Serve at an address; gives the port.

        Raises:
            OSError: it can't be had.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listening = socket.create_server((address, port), family=family, backlog=128)
        listening.setblocking(False)
        self._spawn(self._accept(listening, tls=tls))
        return int(listening.getsockname()[1])

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self, listening: socket.socket, *, tls: bool) -> None:
        with listening:
            while True:
                connection, peer = await asyncio.get_running_loop().sock_accept(listening)
                self._spawn(self._serve(connection, peer[0], tls=tls))

    async def _serve(self, connection: socket.socket, address: str, *, tls: bool) -> None:
        """Serve one connection to its end."""
        hello = await greet(connection) if tls else None
        caller = Caller(address, hello)
        if hello is not None and self._play.alerts(caller, hello.name):
            with suppress(OSError):
                connection.send(_HANDSHAKE_FAILURE)
            connection.close()
        elif tls and hello is None:
            connection.close()
        else:
            context = self._context(hello.name or address) if hello else None
            with suppress(OSError, NotHttp, TimeoutError):  # a client that left, or talks nonsense
                await self._talk(connection, caller, context)

    async def _talk(self, connection: socket.socket, caller: Caller, context: ssl.SSLContext | None) -> None:
        reader = asyncio.StreamReader(limit=http.MOST_HEAD)
        protocol = asyncio.StreamReaderProtocol(reader)
        loop, patience = asyncio.get_running_loop(), _TLS_WITHIN_S if context else None
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, connection, ssl=context, ssl_handshake_timeout=patience
        )
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            while (asked := await asyncio.wait_for(http.read(reader), _IDLE_S)) is not None:
                answer = self._play.answer(caller, asked)
                if isinstance(answer, Fault):
                    await _fail(answer, reader, writer, connection)
                    return
                await _reply(answer, asked, writer)
        finally:
            writer.close()


async def _reply(reply: Reply, asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(http.head(reply.status, reply.headers, len(reply.body)))
    writer.write(b"" if asked.method == "HEAD" else reply.body)
    await writer.drain()


async def _fail(
    fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: socket.socket
) -> None:
    """Let a request come to nothing, or to half an answer."""
    if fault.reply is not None:
        body = fault.reply.body
        writer.write(http.head(fault.reply.status, fault.reply.headers, len(body)) + body[: len(body) // 2])
        await writer.drain()
    if fault.kind in {FaultKind.TIMEOUT, FaultKind.SLOW_BODY}:
        await asyncio.wait_for(reader.read(), _IDLE_S)  # until the client has had enough
    elif fault.kind is not FaultKind.TRUNCATED:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        writer.transport.abort()
