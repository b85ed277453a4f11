"""What may be spent: a bucket that fills evenly and may be overdrawn by what had come already. **Pure**."""

import attrs


@attrs.define
class Bucket:
    """Of one vantage in one collector.

    Attributes:
        rate: how much it gains. [1/s]
        ahead: the most it holds: what may be spent at once after a time of rest.
        level: what it holds; below zero is a debt, waited for before anything else is spent.
        at: when that was, on a clock that never goes back. [s]
    """

    rate: float
    ahead: float
    level: float
    at: float

    @classmethod
    def full(cls, rate: float, ahead: float, now: float) -> "Bucket":
        """Give a full one."""
        return cls(rate, ahead, ahead, now)

    def spend(self, amount: float, now: float) -> None:
        """Take out what can't be sent back."""
        self._fill(now)
        self.level -= amount

    def take(self, amount: float, now: float) -> bool:
        """Take out `amount` if all of it is there; give whether it was."""
        self._fill(now)
        if self.level < amount:
            return False
        self.level -= amount
        return True

    def wait_s(self, now: float) -> float:
        """Give how long until nothing is owed; 0 where nothing is. [s]"""
        self._fill(now)
        return max(-self.level, 0.0) / self.rate

    def _fill(self, now: float) -> None:
        passed = max(now - self.at, 0.0)
        self.level = min(self.level + passed * self.rate, self.ahead)
        self.at = max(now, self.at)
