"""HTTPS edges of one name, as a CDN has them: each with its own address, point of presence, cache and pace.

usage: python -m sonde_lab.demo.edges CERTIFICATE KEY PORT

Prints "ready PORT" and serves until it is told to stop; PORT is another one where somebody has it.
"""

import asyncio
import errno
import itertools
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass

NAME = "www.example.test"
BODY = b"The same page from every edge.\n" * 2048  # 63 KB: enough for a transfer to take time
_HEAD_LIMIT = 16_384


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge.

    Attributes:
        address: where it listens.
        pop: how it names itself.
        delay_ms: from the request's last byte to the answer's first.
        hit_of: one request in so many is a cache hit; 1 = all.
    """

    address: str
    pop: str
    delay_ms: float
    hit_of: int


EDGES = (
    Edge("127.2.0.1", "FRA", delay_ms=4.0, hit_of=1),
    Edge("127.2.0.2", "SIN", delay_ms=35.0, hit_of=3),
)


def answer(edge: Edge, request: int, *, body: bool) -> bytes:
    """Give the whole answer to the edge's request number `request`. **Pure.**

    Every `hit_of`-th request is a hit; a miss has age 0.
    """
    hit = request % edge.hit_of == 0
    head = (
        "HTTP/1.1 200 OK",
        "Server: sonde-lab",
        "Content-Type: text/plain",
        f"Content-Length: {len(BODY)}",
        f"X-Served-By: cache-{edge.pop.lower()}1-{edge.pop}",
        f"X-Cache: {'HIT' if hit else 'MISS'}",
        f"Age: {request * 7 % 600 if hit else 0}",
        "Connection: close",
    )
    return "\r\n".join((*head, "", "")).encode() + (BODY if body else b"")


async def serve(edge: Edge, tls: ssl.SSLContext, port: int) -> asyncio.Server:
    """Start one edge.

    Raises:
        OSError: the address or port can't be had.
    """
    numbers: Iterator[int] = itertools.count(1)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(edge.delay_ms / 1000)
            writer.write(answer(edge, next(numbers), body=not head.startswith(b"HEAD ")))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # a client that left, or talked nonsense: its own affair
        finally:
            writer.close()

    return await asyncio.start_server(talk, edge.address, port, ssl=tls, limit=_HEAD_LIMIT)


async def serve_all(tls: ssl.SSLContext, preferred: int) -> list[asyncio.Server]:
    """Start all edges on one port: the preferred one, or another where somebody has it.

    Raises:
        OSError: an address is not there.
    """
    while True:
        servers: list[asyncio.Server] = []
        port = preferred
        try:
            for edge in EDGES:
                servers.append(await serve(edge, tls, port))
                port = servers[0].sockets[0].getsockname()[1]
        except OSError as error:
            for server in servers:
                server.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            preferred = 0
        else:
            return servers


async def main(certificate: str, key: str, port: int) -> None:
    """Serve all edges until cancelled."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    servers = await serve_all(tls, port)
    print(f"ready {servers[0].sockets[0].getsockname()[1]}", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
