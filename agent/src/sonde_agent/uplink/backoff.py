"""How long to wait between two tries: full jitter, no end, from the start again after progress."""

import random
from collections.abc import Awaitable, Callable
from typing import NoReturn

import grpc
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_never,
    wait_random_exponential,
)

from sonde_agent.uplink.send_errors import ACTIONS, Action

BASE_S = 0.5
CAP_S = 60.0
PATIENCE_S = 30.0


class Interrupted(Exception):
    """A connection ended.

    Attributes:
        action: what to do next.
        progressed: the collector took something new since it began.
    """

    def __init__(self, action: Action, message: str, *, progressed: bool = False) -> None:
        super().__init__(message)
        self.action = action
        self.progressed = progressed


class Renewed(Interrupted):
    """A connection was ended by us, to begin anew with the certificate that is in use now."""

    def __init__(self) -> None:
        super().__init__(Action.RETRY, "a new certificate is in use", progressed=True)


def interrupted(code: grpc.StatusCode, details: str | None) -> Interrupted:
    """The interruption that a status means. **Pure.**"""
    return Interrupted(ACTIONS[code], f"{code.name}: {details or 'no details'}")


class Backoff:
    """The pause before the next try, as tenacity asks for it."""

    def __init__(self, base_s: float = BASE_S, cap_s: float = CAP_S, patience_s: float = PATIENCE_S) -> None:
        self._jitter = wait_random_exponential(multiplier=base_s, max=cap_s)
        self._patience_s = patience_s

    def __call__(self, state: RetryCallState) -> float:
        """Seconds; `state` holds the `Interrupted` that ended the last try."""
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, Interrupted)
        if error.progressed:
            state.attempt_number = 1
        if error.action in {Action.WAIT, Action.RE_ENROL, Action.STOP}:
            return random.uniform(self._patience_s / 2, self._patience_s)  # noqa: S311  # jitter is no secret
        if error.action is Action.QUARANTINE and error.progressed:
            return 0.0  # the search for the poison came one step nearer
        return self._jitter(state)

    async def forever(self, connect: Callable[[], Awaitable[NoReturn]]) -> None:
        """Call again and again, whatever `Interrupted` it ends with; ends by cancellation alone."""
        retrying = AsyncRetrying(wait=self, stop=stop_never, retry=retry_if_exception_type(Interrupted))
        await retrying(connect)
