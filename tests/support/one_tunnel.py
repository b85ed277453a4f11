"""A program: one backend brings one tunnel up, in the circumstances in which a box lets it run.

Its orders are one JSON object on standard input; what happens is told in JSON lines on standard output. While
the tunnel is up it runs the shell commands of `inside` in the box's namespace; with `hold` it stays up until
another line comes or the tunnel is lost.
"""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from sonde_agent.tunnel import backends, links, namespaces
from sonde_agent.tunnel.backends.base import Room, Secrets, TunnelFailed
from sonde_proto import profiles
from sonde_proto.v1 import results_pb2 as pb


def tell(**what: object) -> None:
    """One line to whoever started this."""
    print(json.dumps(what), flush=True)  # noqa: T201 -- a program


def main() -> None:
    """Does what the first line of standard input orders."""
    orders = json.loads(sys.stdin.readline())
    namespaces.own_mounts()
    namespaces.mount("none", "/run", fstype="tmpfs")
    folder = Path("/run/room")
    folder.mkdir(mode=0o700)
    box = namespaces.new_netns()
    links.raise_loopback(box)
    room = Room(
        folder=folder,
        host_netns=namespaces.own_netns(),
        box_netns=box,
        deadline=time.monotonic() + orders.get("seconds", 10),
        family=orders.get("family", 0),
        refuse=lambda address, _port: "denied" if address in orders.get("denied", []) else None,
        stage=lambda stage, ms: tell(stage=pb.Stage.Name(stage), ms=ms),
    )
    profile = profiles.parse(orders["name"], orders["profile"].encode())
    backend = backends.choose(profile.protocol, [])
    began = time.monotonic()
    try:
        up = backend.up(profile, Secrets(orders.get("username", ""), orders.get("password", "")), room)
        took = (time.monotonic() - began) * 1e3
        tell(up={name: getattr(up, name) for name in up.__slots__ if name != "__weakref__"}, took_ms=took)
        for command in orders.get("inside", []):
            with namespaces.inside(box):
                done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
            tell(ran=command, status=done.returncode, out=done.stdout + done.stderr)
        while orders.get("hold") and not select.select([sys.stdin], [], [], 0.1)[0]:
            if lost := backend.lost():
                raise lost
    except TunnelFailed as failed:
        took = (time.monotonic() - began) * 1e3
        tell(
            failed=pb.Failure.Name(failed.failure),
            at=pb.Stage.Name(failed.stage),
            detail=failed.detail,
            took_ms=took,
        )
    finally:
        began = time.monotonic()
        backend.down()
        tell(down_ms=(time.monotonic() - began) * 1e3, left=os.listdir(folder))  # noqa: PTH208


if __name__ == "__main__":
    main()
