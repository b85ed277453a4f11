"""Under which address the world sees this host without a tunnel: asked now and then, kept meanwhile."""

import asyncio
import time
from collections.abc import Callable

from sonde_agent.net.caller_address import NoCallerAddress, ask_caller_address
from sonde_agent.net.dial import Deadline

KEPT_S = 300.0
"""A host's own address changes rarely, and a fleet should not ask for it at each run."""

_ASK_WITHIN_S = 8.0
_ASK_AGAIN_S = 30.0  # after no answer


class OwnAddress:
    """The addresses of this host as others see them, one a URL and family."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[str | None, float]] = {}
        self._asking = asyncio.Lock()

    async def ask(self, url: str, family: int, refuse: Callable[[str, int | None], str | None]) -> str | None:
        """Give the address of `family` under which `url` sees this host; None = nobody could say.

        Args:
            url: http://, answers with the caller's address in plain text.
            family: 4 or 6.
            refuse: why the policy forbids an address and port, or None.
        """
        async with self._asking:  # runs that end together ask once
            address, until = self._known.get((url, family), (None, 0.0))
            if time.monotonic() >= until:
                deadline = Deadline(_ASK_WITHIN_S)
                kept_s = KEPT_S
                try:
                    caller = await asyncio.to_thread(ask_caller_address, url, family, deadline, refuse)
                    address = caller.address
                except NoCallerAddress:
                    address, kept_s = None, _ASK_AGAIN_S
                finally:
                    deadline.cancel()
                self._known[url, family] = address, time.monotonic() + kept_s
            return address
