"""Plays the hosts that answer, but wrongly.

usage: python -m sonde_lab.misbehaving BUSY_PUBLIC_KEY     (base64; in the namespace of the faults)
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, cast

from sonde_lab.cookie import Cookies
from sonde_lab.faults import HOSTS, LEAK_PORT, WIREGUARD

_IKE_NAT = 4500
_ANY = ("0.0.0.0", "::")  # noqa: S104 -- of a namespace of the lab


class Garbage(asyncio.DatagramProtocol):
    """Answers every datagram with as many bytes: a type that no protocol has, then random ones."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # asyncio's own is none before 3.12

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer."""
        self._transport.sendto(b"\xff" + os.urandom(max(len(data), 64) - 1), addr)


class Busy(asyncio.DatagramProtocol):
    """Answers every WireGuard initiation with a cookie."""

    def __init__(self, cookies: Cookies) -> None:
        self._cookies = cookies

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.DatagramTransport", transport)  # asyncio's own is none before 3.12

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer."""
        reply = self._cookies.reply(data, str(addr).encode())
        if reply is not None:
            self._transport.sendto(reply, addr)


async def garbage_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer whatever comes with random bytes, and hang up when the client does."""
    try:
        while await reader.read(4096):
            writer.write(b"\xff\xff" + os.urandom(254))  # to OpenVPN a length that none of its packets has
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


def seen_as(caller: str, dump: str) -> str:
    """Give the address from which the peer with the address `caller` inside comes. **Pure.**

    Args:
        caller: address inside.
        dump: what `wg show DEVICE dump` says.
    """
    for line in dump.splitlines()[1:]:
        _, _, endpoint, allowed, *_ = line.split("\t")
        if caller in {network.split("/")[0] for network in allowed.split(",")}:
            return endpoint.rpartition(":")[0].strip("[]")
    return caller


async def leak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a request for one's own address as though it had not come through the tunnel."""
    try:
        await reader.readuntil(b"\r\n\r\n")
        caller = writer.get_extra_info("peername")[0].removeprefix("::ffff:")
        command = ("wg", "show", WIREGUARD["leaky"], "dump")
        dump = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
        body = seen_as(caller, dump.stdout) + "\n"
        writer.write(
            f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
            f"Connection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def main(busy_public: str) -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    garbage, busy = HOSTS["garbage"], HOSTS["busy"]
    cookies = Cookies(busy_public)
    datagrams: list[tuple[Callable[[], asyncio.DatagramProtocol], tuple[str, int]]] = [
        (Garbage, (address, port))
        for address in (garbage.ipv4, garbage.ipv6)
        for port in (garbage.wireguard, garbage.openvpn_udp, garbage.ike, _IKE_NAT)
    ]
    datagrams += [(lambda: Busy(cookies), (address, busy.wireguard)) for address in (busy.ipv4, busy.ipv6)]
    streams = [(garbage_stream, address, garbage.openvpn_tcp) for address in (garbage.ipv4, garbage.ipv6)]
    streams += [(leak, address, LEAK_PORT) for address in _ANY]
    kept = [
        *[await loop.create_datagram_endpoint(made, local_addr=at) for made, at in datagrams],
        *[await asyncio.start_server(serve, address, port) for serve, address, port in streams],
    ]
    print("ready", flush=True)
    await asyncio.Event().wait()
    del kept


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
