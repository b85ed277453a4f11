"""Swallows uploads: HTTP/1.1 on a unix socket, behind nginx, which takes care of TLS and of clients' manners.

usage: python -m sonde_lab.sink SOCKET
"""

import asyncio
import os
import re
import sys

_PART = 1 << 18
_LENGTH = re.compile(rb"\r\ncontent-length:\s*(\d+)\r\n", re.IGNORECASE)


async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection: read each request's body, answer with the count of its bytes."""
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            taken = await _exactly(reader, int(length[1])) if length else await _chunks(reader, head)
            body = f"{taken}\n".encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
    except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # a client that left, or talked nonsense: its own affair
    finally:
        writer.close()


async def _exactly(reader: asyncio.StreamReader, count: int) -> int:
    left = count
    while left:
        part = await reader.read(min(left, _PART))
        if not part:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(part)
    return count


async def _chunks(reader: asyncio.StreamReader, head: bytes) -> int:
    if b"chunked" not in head.lower():
        return 0
    taken = 0
    while size := int((await reader.readline()).split(b";")[0], 16):
        taken += await _exactly(reader, size)
        await reader.readline()
    await reader.readline()
    return taken


async def main(path: str) -> None:
    """Serve for ever."""
    os.umask(0o077)
    server = await asyncio.start_unix_server(swallow, path, limit=_PART)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
