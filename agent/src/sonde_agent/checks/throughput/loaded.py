"""The round-trip time while the path is loaded: ICMP echoes beside the transfer, stamped by the kernel.

TCP knows it in the direction of sending only; an echo knows it in both, and waits in the same queues. Where
echoes are not answered, or this host may send none, TCP's own smoothed time stands in for uploads.
"""

import asyncio
import contextlib

from sonde_agent.checks.base import Context
from sonde_agent.net.icmp import IcmpClosed
from sonde_agent.net.resolve import family_of

_AT_ONCE = 4
_SPACING_S = 0.1
_WAIT_S = 1.0


class LoadedPing:
    """Pings one address between `start` and `stop`; both are called in the event loop."""

    def __init__(self, context: Context, address: str) -> None:
        self._context, self._address = context, address
        self._task: asyncio.Task[None] | None = None
        self._ms: list[float] = []
        self._stopped = False

    def start(self) -> None:
        """Begin; does nothing where the policy forbids echoes to the address."""
        if not self._stopped and self._context.refuse(self._address, None) is None:
            self._task = asyncio.create_task(self._run(), name="loaded-ping")

    async def _run(self) -> None:
        with contextlib.suppress(IcmpClosed, ValueError):
            engine = self._context.icmp.engine(family_of(self._address))
            while True:
                echoes = await engine.ping(
                    self._address, count=_AT_ONCE, spacing_s=_SPACING_S, wait_s=_WAIT_S
                )
                rtts_ns = echoes.rtts_ns()
                self._ms += [rtt / 1e6 for rtt in rtts_ns if rtt is not None and rtt <= _WAIT_S * 1e9]
                if not self._ms:
                    return  # it answers no echoes

    async def stop(self) -> list[float]:
        """End, and give the round-trip times so far [ms]."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        return self._ms
