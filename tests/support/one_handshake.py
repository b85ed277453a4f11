"""A program: shakes hands with the server of one profile after the other, and tells each as a line of JSON.

Its orders are one JSON object on standard input: `profiles` (paths), `username`, `password`, `seconds` and
`denied` (addresses).
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from sonde_agent.net.handshake import probe
from sonde_agent.tunnel.backends.base import Secrets
from sonde_proto import profiles
from sonde_proto.v1 import results_pb2 as pb


async def main() -> None:
    """Does what standard input orders."""
    orders = json.loads(sys.stdin.readline())
    secrets = Secrets(orders.get("username", ""), orders.get("password", ""))
    denied = orders.get("denied", [])
    for path in map(Path, orders["profiles"]):
        profile = profiles.parse(path.name, path.read_bytes())
        until = time.monotonic() + orders.get("seconds", 5)
        made = await probe(
            profile, secrets, 0, until, lambda address, _port: "denied" if address in denied else None
        )
        told = {
            "profile": path.name,
            "stages": {pb.Stage.Name(stage): ms for stage, ms in made.stages.items()},
            "failure": pb.Failure.Name(made.failure),
            "stage": pb.Stage.Name(made.stage),
            "detail": made.detail,
            "address": made.address,
            "family": made.family,
        }
        print(json.dumps(told), flush=True)  # noqa: T201 -- a program


if __name__ == "__main__":
    asyncio.run(main())
