"""A program: what an agent does for one connection task. Prints the results as a JSON array.

Its arguments are the helper's socket and the task as JSON.
"""

import asyncio
import json
import sys

from google.protobuf import json_format

from sonde_agent.checks.base import Context
from sonde_agent.checks.kinds import KINDS
from sonde_agent.net.icmp import Engines
from sonde_agent.tunnel.client import Tunnels
from sonde_proto.v1 import control_pb2


async def main() -> None:
    """Does it."""
    task = json_format.Parse(sys.argv[2], control_pb2.Task())
    engines = Engines()
    try:
        context = Context(icmp=engines, tunnels=Tunnels(sys.argv[1]))
        results = await KINDS["connection"].run(task, context)
    finally:
        engines.close()
    print(json.dumps([json_format.MessageToDict(result) for result in results]))  # noqa: T201 -- a program


if __name__ == "__main__":
    asyncio.run(main())
