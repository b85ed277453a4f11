"""From what a channel answered to what is done about it. **Pure**."""

import datetime as dt
import json
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from attrs import frozen

Action = Literal["sent", "retry", "give_up"]

# Statuses that may be otherwise later. Every other one from 300 to 499 is ours or the operator's mistake.
_LATER = frozenset({408, 421, 423, 425, 429})
LONGEST_WAIT_S = 3600.0
"""However long a server asks us to wait, it is asked again after this. [s]"""
_BACKOFF_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)


@frozen
class Outcome:
    """What came of one attempt.

    Attributes:
        action: what to do.
        said: what was answered, for people; no secret.
        wait_s: how long the server asks us to wait; None: it did not say.
    """

    action: Action
    said: str
    wait_s: float | None = None


def judge(status: int, headers: Mapping[str, str], body: bytes, now: dt.datetime) -> Outcome:
    """Give the outcome of an HTTP answer.

    Args:
        status: of the answer.
        headers: of it, by names in small letters.
        body: its beginning.
        now: for a Retry-After that is a date.
    """
    said = _said(status, body)
    if 200 <= status < 300:  # noqa: PLR2004 -- RFC 9110: successful
        return Outcome("sent", said)
    if status in _LATER or status >= 500:  # noqa: PLR2004 -- RFC 9110: the server's own fault
        return Outcome("retry", said, _wait(headers.get("retry-after"), body, now))
    if 300 <= status < 400:  # noqa: PLR2004 -- RFC 9110: redirection
        return Outcome(
            "give_up", f"{said} (a redirect; it is not followed, as it may lead secrets elsewhere)"
        )
    return Outcome("give_up", said)


def backoff_s(attempts: int, asked_s: float | None) -> float:
    """Give the wait before the next attempt.

    Args:
        attempts: that failed so far, at least 1.
        asked_s: what the server asked for; None: nothing.
    """
    own = _BACKOFF_S[min(max(attempts, 1), len(_BACKOFF_S)) - 1]
    return own if asked_s is None else min(max(asked_s, _BACKOFF_S[0]), LONGEST_WAIT_S)


def _said(status: int, body: bytes) -> str:
    text = " ".join(body[:200].decode("utf-8", "replace").split())
    text = "".join(c for c in text if c.isprintable())
    return f"{status} {text}".strip()


def _wait(header: str | None, body: bytes, now: dt.datetime) -> float | None:
    """Give what a server asks for: Retry-After (RFC 9110), or Discord's and Telegram's word in the body."""
    if header is not None:
        try:
            if header.strip().isdigit():
                return min(float(header), LONGEST_WAIT_S)
            at = parsedate_to_datetime(header)
            at = at if at.tzinfo else at.replace(tzinfo=dt.UTC)
            return min(max((at - now).total_seconds(), 0.0), LONGEST_WAIT_S)
        except (ValueError, TypeError, OverflowError):
            pass
    try:
        answer: Any = json.loads(body)
        for place in (answer, answer.get("parameters")):
            asked = place.get("retry_after") if isinstance(place, dict) else None
            if isinstance(asked, int | float) and math.isfinite(asked):
                return min(max(float(asked), 0.0), LONGEST_WAIT_S)
    except (ValueError, AttributeError, RecursionError, OverflowError):
        pass
    return None
