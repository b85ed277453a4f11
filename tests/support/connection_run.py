"""A program: agents that each run one connection task, in processes of their own.

Its argument is the helper's socket. Each line of standard input is a task as JSON; an agent is forked for it,
which prints its results as one line, a JSON array.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys

from google.protobuf import json_format

from sonde_agent.checks.base import Context
from sonde_agent.checks.kinds import KINDS
from sonde_agent.net.icmp import Engines
from sonde_agent.tunnel import namespaces
from sonde_agent.tunnel.client import Tunnels
from sonde_proto.v1 import control_pb2


async def measure(line: str) -> None:
    """What an agent does."""
    task = json_format.Parse(line, control_pb2.Task())
    engines = Engines()
    try:
        context = Context(icmp=engines, tunnels=Tunnels(sys.argv[1]))
        results = await KINDS["connection"].run(task, context)
    finally:
        engines.close()
    print(json.dumps([json_format.MessageToDict(result) for result in results]), flush=True)  # noqa: T201


def main() -> None:
    """Forks an agent for each line, and waits for them at the end."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # those that ended are nobody's business
    for line in sys.stdin:
        if os.fork() == 0:
            namespaces.die_with_parent()
            asyncio.run(measure(line))
            return
    with contextlib.suppress(ChildProcessError):
        os.wait()


if __name__ == "__main__":
    main()
