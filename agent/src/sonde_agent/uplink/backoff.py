"""How long to wait between two tries: full jitter, no end, from the start again after progress.

A collector that restarts loses all its agents at one moment, and none of them knows how many they are. So the
longer a connection stood, the wider is the window in which its agent comes again: a fleet that has worked for
half an hour is spread over half a minute, and an agent whose connection was just made is back at once.
"""

import random
from collections.abc import Awaitable, Callable
from typing import NoReturn

import grpc
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_never

from sonde_agent.uplink.send_errors import ACTIONS, Action

BASE_S = 0.5
CAP_S = 60.0
PATIENCE_S = 30.0
SPREAD_S = 30.0  # the widest first window; with it an agent is heard again before it counts as silent (90 s)
SPREAD_SHARE = 1 / 60  # of the time that a connection stood: what waiting may cost of the time connected


class Interrupted(Exception):
    """A connection ended.

    Attributes:
        action: what to do next.
        progressed: the collector took something new since it began.
        stood_s: how long it stood; 0 = it never did.
    """

    def __init__(self, action: Action, message: str, *, progressed: bool = False) -> None:
        super().__init__(message)
        self.action = action
        self.progressed = progressed
        self.stood_s = 0.0


class Renewed(Interrupted):
    """A connection was ended by us, to begin anew with the certificate that is in use now."""

    def __init__(self) -> None:
        super().__init__(Action.RETRY, "a new certificate is in use", progressed=True)


def interrupted(code: grpc.StatusCode, details: str | None) -> Interrupted:
    """The interruption that a status means. **Pure.**"""
    return Interrupted(ACTIONS[code], f"{code.name}: {details or 'no details'}")


class Backoff:
    """The pause before the next try, as tenacity asks for it.

    Args:
        base_s: the first window after a connection that was short, doubled with each try that fails.
        cap_s: the widest window.
        patience_s: the longest pause where the collector asked for one, or a person has to act.
        dice: where chance comes from.
    """

    def __init__(
        self,
        base_s: float = BASE_S,
        cap_s: float = CAP_S,
        patience_s: float = PATIENCE_S,
        dice: random.Random | None = None,
    ) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._patience_s = patience_s
        self._dice = dice or random.Random()  # noqa: S311  # jitter is no secret
        self._spread_s = 0.0

    def __call__(self, state: RetryCallState) -> float:
        """Seconds; `state` holds the `Interrupted` that ended the last try."""
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, Interrupted)
        if error.progressed or error.stood_s >= self._cap_s:
            state.attempt_number = 1
        if error.stood_s and error.action is Action.RETRY:
            self._spread_s = spread_s(error.stood_s, self._spread_s)
        if error.action in {Action.WAIT, Action.RE_ENROL, Action.STOP}:
            return self._dice.uniform(self._patience_s / 2, self._patience_s)
        if error.action is Action.QUARANTINE and error.progressed:
            return 0.0  # the search for the poison came one step nearer
        first_s = max(self._base_s, self._spread_s) if error.action is Action.RETRY else self._base_s
        window_s = min(self._cap_s, first_s * 2 ** min(state.attempt_number - 1, 30))
        return self._dice.uniform(0, window_s)

    async def forever(self, connect: Callable[[], Awaitable[NoReturn]]) -> None:
        """Call again and again, whatever `Interrupted` it ends with; ends by cancellation alone."""
        retrying = AsyncRetrying(wait=self, stop=stop_never, retry=retry_if_exception_type(Interrupted))
        await retrying(connect)


def spread_s(stood_s: float, before_s: float) -> float:
    """The window in which to come again after a connection that stood. **Pure.**

    Args:
        stood_s: how long it stood. [s]
        before_s: the window of the last time: a collector that restarts twice has as many agents. [s]
    """
    return min(SPREAD_S, max(stood_s * SPREAD_SHARE, before_s / 2))
