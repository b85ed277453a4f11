"""What each vantage has spent at this collector, and what it may spend now. **Pure**.

Results are slowed, never refused: a stream that may not be read waits, by gRPC's flow control, and its
results stay in the agent's spool. Only calls and streams are refused, and come again later.
"""

from collections.abc import Callable, Mapping

import attrs

from sonde_collector.config import Limits
from sonde_collector.limits.bucket import Bucket

SHARE_BYTES = 16 << 20
"""Of one vantage in memory, a quarter of the queue: four times what an agent has under way. [bytes]"""

WORD, STREAM = 1, 10
"""What a short call or an agent's word, and a call that stays, take of `Limits.calls`."""


@attrs.define
class _Account:
    rows: Bucket
    bytes: Bucket
    calls: Bucket
    streams: int = 0
    in_memory: int = 0


class Vantages:
    """Keeps the accounts of one collector.

    Args:
        limits: [limits] of the configuration.

    Attributes:
        met: called with vantage, limit and words whenever a limit held something up.
        spent: vantage -> why nothing more of it is taken today.
        on_spent: called when `spent` has changed: those who hold streams end them.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.met: Callable[[str, str, str], None] = lambda _vantage, _limit, _words: None
        self.spent: Mapping[str, str] = {}
        self.on_spent: Callable[[], None] = lambda: None
        self._accounts: dict[str, _Account] = {}

    def learn(self, spent: Mapping[str, str]) -> None:
        """Take nothing from these until they are not named any more."""
        changed = spent.keys() != self.spent.keys()
        self.spent = spent
        if changed:
            self.on_spent()

    def enter(self, vantage: str, cost: int, now: float) -> str | None:
        """Begin a call; give why it is refused, None if it may go on (then `leave` it).

        Args:
            vantage: of its certificate.
            cost: `WORD` or `STREAM`.
            now: on a clock that never goes back. [s]
        """
        account = self._account(vantage, now)
        if cost >= STREAM and account.streams >= self.limits.streams:
            words = (
                f"{vantage} has {account.streams} streams open, as many as this collector's [limits] allow"
            )
            self.met(vantage, "streams", words)
            return words
        if not account.calls.take(cost, now):
            words = f"{vantage} calls more often than this collector's [limits] allow: come again later"
            self.met(vantage, "calls", words)
            return words
        account.streams += cost >= STREAM
        return None

    def leave(self, vantage: str, cost: int) -> None:
        """End a call that was let in."""
        self._accounts[vantage].streams -= cost >= STREAM

    def hear(self, vantage: str, now: float) -> float:
        """Count a word of an open stream; give how long to wait before it is taken in. [s]"""
        calls = self._account(vantage, now).calls
        calls.spend(WORD, now)
        wait = calls.wait_s(now)
        if wait:
            self.met(
                vantage, "calls", f"{vantage} says more than this collector's [limits] allow: slowed down"
            )
        return wait

    def take_in(self, vantage: str, rows: int, size: int, now: float) -> None:
        """Count a batch that was read, and that is in memory until `settle`."""
        account = self._account(vantage, now)
        account.rows.spend(rows, now)
        account.bytes.spend(size, now)
        account.in_memory += size

    def settle(self, vantage: str, size: int) -> None:
        """Count a batch out of memory."""
        account = self._accounts.get(vantage)
        if account is not None:
            account.in_memory -= size

    def crowded(self, vantage: str) -> bool:
        """Tell whether so much of a vantage is in memory that its streams are not read."""
        account = self._accounts.get(vantage)
        return account is not None and account.in_memory >= SHARE_BYTES

    def wait_s(self, vantage: str, now: float) -> float:
        """Give how long no results of a vantage are read; 0 where they may come. [s]"""
        account = self._account(vantage, now)
        rows, size = account.rows.wait_s(now), account.bytes.wait_s(now)
        if rows or size:
            name, unit = ("rows", "results") if rows >= size else ("bytes", "bytes")
            words = f"{vantage} sends more {unit} than this collector's [limits] allow: slowed down"
            self.met(vantage, name, words)
        return max(rows, size)

    def _account(self, vantage: str, now: float) -> _Account:
        account = self._accounts.get(vantage)
        if account is None:
            at = self.limits
            account = self._accounts[vantage] = _Account(
                Bucket.full(at.rows, at.rows_ahead, now),
                Bucket.full(at.bytes, at.bytes_ahead, now),
                Bucket.full(at.calls, at.calls_ahead, now),
            )
        return account
