"""How many requests a key has left: a bucket that holds a minute's worth and fills evenly. **Pure**."""

import math

import attrs

_MINUTE_S = 60.0


@attrs.frozen
class Taken:
    """What became of one request.

    Attributes:
        allowed: whether it may be answered.
        left: requests that may come at once now.
        wait_s: until one more may come; 0 where one may come now. [s]
        full_s: until the bucket is full again. [s]
    """

    allowed: bool
    left: int
    wait_s: float
    full_s: float


@attrs.define
class Bucket:
    """Of one key in one collector.

    Attributes:
        rate: requests a minute, and how many it holds.
        level: how many are left.
        at: when that was, on a clock that never goes back. [s]
    """

    rate: int
    level: float
    at: float

    @classmethod
    def full(cls, rate: int, now: float) -> "Bucket":
        """Give a full one."""
        return cls(rate, rate, now)

    def take(self, rate: int, now: float) -> Taken:
        """Take one request out, if there is one; `rate` may have changed since."""
        per_s = rate / _MINUTE_S
        self.level = min(float(rate), self.level + max(now - self.at, 0.0) * per_s)
        self.rate, self.at = rate, max(now, self.at)
        allowed = self.level >= 1
        if allowed:
            self.level -= 1
        return Taken(
            allowed,
            math.floor(self.level),
            max(1 - self.level, 0.0) / per_s,
            (rate - self.level) / per_s,
        )
