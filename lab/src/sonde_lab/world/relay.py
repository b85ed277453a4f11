"""Passes TCP on: what an SNI proxy does, and what stands before a resolver that speaks no TLS."""

import asyncio
import ssl
from contextlib import suppress

_PART = 1 << 16


async def start(
    listen: tuple[str, int],
    target: tuple[str, int],
    *,
    source: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> asyncio.Server:
    """Serve at `listen`: each connection is passed on to `target`, byte by byte, both ways.

    Args:
        listen: address and port.
        target: address and port.
        source: the address that it calls from; None = whatever the kernel takes.
        tls: it speaks TLS with its callers, and plain text with the target.

    Raises:
        OSError: the address can't be had.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(*target, local_addr=(source, 0) if source else None)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
        finally:
            writer.close()
            there[1].close()

    return await asyncio.start_server(serve, *listen, ssl=tls)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy one way to its end; an end that was cut cuts the other, as a person would see it directly."""
    try:
        while part := await reader.read(_PART):
            writer.write(part)
            await writer.drain()
    except OSError:
        writer.transport.abort()
        return
    if writer.can_write_eof():
        with suppress(OSError):
            writer.write_eof()
    else:
        writer.close()
