"""Under which address the world sees this host without a tunnel: asked now and then, kept meanwhile."""

import asyncio
import time
from collections.abc import Callable

from sonde_agent.net.caller_address import CallerAddress, NoCallerAddress, ask_caller_address
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
                kept_s = KEPT_S
                try:
                    address = (await _ask(url, family, refuse)).address
                except NoCallerAddress:
                    address, kept_s = None, _ASK_AGAIN_S
                self._known[url, family] = address, time.monotonic() + kept_s
            return address

    async def answers(self, url: str, refuse: Callable[[str, int | None], str | None]) -> bool:
        """Whether `url` answers this host now, whatever it says; asks anew, by any family."""
        try:
            await _ask(url, 0, refuse)
        except NoCallerAddress as none:
            return none.first_byte_ms is not None
        return True


async def _ask(url: str, family: int, refuse: Callable[[str, int | None], str | None]) -> CallerAddress:
    deadline = Deadline(_ASK_WITHIN_S)
    try:
        return await asyncio.to_thread(ask_caller_address, url, family, deadline, refuse)
    finally:
        deadline.cancel()
