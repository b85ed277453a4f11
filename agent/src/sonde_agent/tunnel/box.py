"""What runs inside a tunnel's box: the checks, as the agent's user, in a namespace with the tunnel alone.

It is told everything in three frames (terms, the request, the tunnel as it came up), tells HelperEvents, and
ends. It starts while the tunnel still shakes hands, so that what it imports costs no time of the tunnel's.
"""

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from sonde_agent import memory
from sonde_agent.checks.base import CheckImpossible, Context, wall_us
from sonde_agent.checks.kinds import KINDS
from sonde_agent.net.caller_address import NoCallerAddress, ask_caller_address
from sonde_agent.net.dial import Deadline
from sonde_agent.net.icmp import Engines
from sonde_agent.policy import Policy
from sonde_agent.tunnel import frames, helper_rules
from sonde_agent.tunnel.chamber import EVENTS, ORDERS
from sonde_proto.v1 import control_pb2, tunnel_pb2
from sonde_proto.v1 import results_pb2 as pb

_EXIT_WITHIN_S = 8.0
_PIECE_BYTES = 1 << 19


class Box:
    """The tunnel from inside.

    Args:
        terms: `policy` as `Rules.policy_document` tells it; `own`, addresses of the tunnel's own that may be
            spoken to whatever the policy says; `began`, when the request was accepted [`time.monotonic()` s];
            `unlock`, where unlock rules are (`helper_rules.unlock_terms`).
        request: what was asked.
        up: the tunnel.
        events: descriptor to tell what happens.
    """

    def __init__(
        self, terms: dict[str, Any], request: tunnel_pb2.OpenTunnel, up: tunnel_pb2.TunnelUp, events: int
    ) -> None:
        self._began: float = terms["began"]
        self._policy = Policy(helper_rules.policy_of(terms["policy"]), wall_us())
        self._rules = helper_rules.unlock_rules(json.loads(terms["unlock"]))
        self._own = frozenset(terms["own"])
        self._request = request
        self._up = up
        self._events = events
        self._telling = threading.Lock()

    async def run(self) -> None:
        """Learn the exit's address where that is asked, then run the tasks, one after another."""
        self._up.setup_ms = (time.monotonic() - self._began) * 1000
        if self._request.exit_url and not await self._learn_exit():
            return
        self._tell(tunnel_pb2.HelperEvent(up=self._up))
        engines = Engines()
        try:
            context = Context(
                icmp=engines,
                refuse=self._refuse,
                refuse_name=self._policy.refuse_host,
                rules=self._rules,
                exit_address=self._up.exit_address,
                watch=self._watch if self._request.watch else None,
            )
            for task in self._request.inside:
                self._tell(tunnel_pb2.HelperEvent(task=tunnel_pb2.InsideTask(key=task.key)))
                for result in await self._measure(task, context):
                    self._tell(tunnel_pb2.HelperEvent(result=result))
        finally:
            engines.close()

    async def _learn_exit(self) -> bool:
        deadline = Deadline(_EXIT_WITHIN_S)
        try:
            caller = await asyncio.to_thread(
                ask_caller_address, self._request.exit_url, 0, deadline, self._refuse
            )
        except NoCallerAddress as none:
            if none.first_byte_ms is not None:  # some sites turn VPNs away: the tunnel carried their words
                self._up.first_byte_ms = none.first_byte_ms
                return True
            detail = f"the tunnel is up, but nothing useful comes through it: {none}"
            ended = tunnel_pb2.TunnelEnded(
                failure=pb.FAILURE_TIMEOUT, stage=pb.STAGE_FIRST_BYTE, detail=detail
            )
            self._tell(tunnel_pb2.HelperEvent(ended=ended))
            return False
        self._up.exit_address, self._up.first_byte_ms = caller
        return True

    async def _measure(self, task: control_pb2.Task, context: Context) -> list[pb.Result]:
        check, at_us = KINDS[task.WhichOneof("spec") or ""], wall_us()
        if check.kind == "ping" and not task.ping.host:
            task.ping.host = self._up.gateway
        try:
            async with asyncio.timeout(task.timeout_ms / 1000):
                return await check.run(task, context)
        except TimeoutError:
            failure = pb.FAILURE_TIMEOUT
        except CheckImpossible:
            failure = pb.FAILURE_UNSUPPORTED
        except Exception:  # noqa: BLE001 -- a defect of one check must not end the others
            failure = pb.FAILURE_INTERNAL
        return [check.failed(task, failure, pb.STAGE_NONE, at_us)]

    def _refuse(self, address: str, port: int | None) -> str | None:
        return None if address in self._own else self._policy.refuse_address(address, port)

    def _watch(self, exchange: Mapping[str, Any]) -> None:
        """Tell an exchange, in pieces; any thread may call it."""
        data = json.dumps(exchange, ensure_ascii=False).encode()
        pieces = [data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES)]
        with self._telling:
            for number, piece in enumerate(pieces, 1):
                watched = tunnel_pb2.Watched(piece=piece, last=number == len(pieces))
                frames.send(self._events, tunnel_pb2.HelperEvent(watched=watched))

    def _tell(self, event: tunnel_pb2.HelperEvent) -> None:
        with self._telling:
            frames.send(self._events, event)


def main() -> int:
    """Wait for the orders on descriptor 3, carry them out, tell on descriptor 4; give the exit code."""
    try:
        for fd in (ORDERS, EVENTS):
            os.fstat(fd)
    except OSError:
        sys.stderr.write("sonde-agent: box is what the tunnel helper starts inside a tunnel; ")
        sys.stderr.write("by hand: sonde-agent check ping HOST --through FILE\n")
        return 2
    terms, request, up = (frames.receive(ORDERS) for _ in range(3))
    if terms is None or request is None or up is None:
        return 0  # no tunnel came up
    memory.keep_one_arena()
    asked, tunnel = tunnel_pb2.OpenTunnel.FromString(request), tunnel_pb2.TunnelUp.FromString(up)
    asyncio.run(Box(json.loads(terms), asked, tunnel, EVENTS).run())
    return 0
