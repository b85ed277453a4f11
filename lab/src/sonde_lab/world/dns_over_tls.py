"""DNS over TLS (RFC 7858) before a resolver that speaks plain DNS.

The resolver is asked by UDP: in the foreground dnsmasq serves TCP itself, one connection at a time, and a
caller whose tunnel is gone would hold it for everybody.
"""

import asyncio
import ssl

_LENGTH = 2
_IDLE_S = 10.0
_ASK_S = 2.0
_TRIES = 3


async def start(
    listen: tuple[str, int], resolver: tuple[str, int], context: ssl.SSLContext
) -> asyncio.Server:
    """Serve at `listen`.

    Args:
        listen: address and port.
        resolver: address and port.
        context: with the certificate that callers expect.

    Raises:
        OSError: the address can't be had.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(_IDLE_S):
                    query = await reader.readexactly(int.from_bytes(await reader.readexactly(_LENGTH)))
                answer = await _ask(resolver, query)
                writer.write(len(answer).to_bytes(_LENGTH) + answer)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()

    return await asyncio.start_server(serve, *listen, ssl=context)


class _Exchange(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, _address: object) -> None:
        if not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


async def _ask(resolver: tuple[str, int], query: bytes) -> bytes:
    """Give the resolver's answer; raises OSError or TimeoutError."""
    loop = asyncio.get_running_loop()
    transport, exchange = await loop.create_datagram_endpoint(_Exchange, remote_addr=resolver)
    try:
        for _ in range(_TRIES):
            transport.sendto(query)
            answered, _waiting = await asyncio.wait([exchange.answer], timeout=_ASK_S)
            if answered:
                return exchange.answer.result()
    finally:
        transport.close()
    raise TimeoutError("the resolver gives no answer")
