"""The collector's clock against ours, from the four times of each answer. **Pure.**"""

from collections import deque
from dataclasses import dataclass

_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Offset:
    """What one exchange says.

    Attributes:
        offset_us: the collector's clock minus ours.
        error_us: half the round trip: the truth lies within offset +- error.
    """

    offset_us: int
    error_us: int


class ClockExchange:
    """Keeps the best of the last exchanges: the one with the shortest round trip (RFC 5905, section 10)."""

    def __init__(self) -> None:
        self._samples: deque[Offset] = deque(maxlen=_SAMPLES)

    def add(self, sent_us: int, received_us: int, answered_us: int, now_us: int) -> None:
        """Take one exchange in; one that can't be true is left out.

        A sample that contradicts the best one means that a clock was stepped: the older ones are forgotten.

        Args:
            sent_us: our clock when we asked.
            received_us: the collector's clock when it was asked.
            answered_us: the collector's clock when it answered.
            now_us: our clock when the answer came.
        """
        round_trip = (now_us - sent_us) - (answered_us - received_us)
        if sent_us <= 0 or received_us <= 0 or answered_us < received_us or round_trip < 0:
            return
        sample = Offset(((received_us - sent_us) + (answered_us - now_us)) // 2, (round_trip + 1) // 2)
        best = self.best()
        if best and abs(sample.offset_us - best.offset_us) > sample.error_us + best.error_us + 1:
            self._samples.clear()
        self._samples.append(sample)

    def best(self) -> Offset | None:
        """The offset known best; None before the first exchange."""
        return min(self._samples, key=lambda sample: sample.error_us, default=None)
