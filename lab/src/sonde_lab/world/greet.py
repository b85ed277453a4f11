"""The first words of a connection, read before anything is answered to them."""

import asyncio
import socket

from sonde_lab.world import hello
from sonde_lab.world.hello import Hello

_PATIENCE_S = 10.0


async def greet(connection: socket.socket) -> Hello | None:
    """Give the ClientHello that a client sends; it stays in the socket for who speaks TLS.

    Args:
        connection: accepted, not blocking.

    Returns:
        None when the client sent something else, too little, or nothing for ten seconds.
    """
    try:
        async with asyncio.timeout(_PATIENCE_S):
            head = await _peek(connection, hello.RECORD_HEAD)
            size = hello.record_size(head) if len(head) == hello.RECORD_HEAD else 0
            return hello.parse(await _peek(connection, size)) if size else None
    except (OSError, TimeoutError):
        return None
    finally:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)


async def _peek(connection: socket.socket, size: int) -> bytes:
    """Give the first `size` bytes, or the fewer that came before the end."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
    known = -1
    while True:
        try:
            data = connection.recv(size, socket.MSG_PEEK)
        except BlockingIOError:
            pass
        else:
            if len(data) in (size, known):  # all is there; or it woke up for no more than before: the end
                return data
            known = len(data)
        await _readable(connection)


async def _readable(connection: socket.socket) -> None:
    """Return when as much as the low-water mark is there, or the end."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(connection, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(connection)
