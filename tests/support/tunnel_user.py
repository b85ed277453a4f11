"""A program: an agent that uses a tunnel until it is ended; it prints the kind of each event as it comes.

Its arguments are the helper's socket and a request as JSON.
"""

import asyncio
import sys

from google.protobuf import json_format

from sonde_agent.tunnel.client import Tunnels
from sonde_proto.v1 import tunnel_pb2


async def main() -> None:
    """Uses it."""
    request = json_format.Parse(sys.argv[2], tunnel_pb2.OpenTunnel())
    async with Tunnels(sys.argv[1]).open(request) as events:
        async for event in events:
            print(event.WhichOneof("event"), flush=True)  # noqa: T201 -- a program


if __name__ == "__main__":
    asyncio.run(main())
