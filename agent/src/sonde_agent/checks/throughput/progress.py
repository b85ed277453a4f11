"""What a person sees while bytes move: the Mbit/s now, and how they compare with the best so far."""

from collections.abc import Callable, Sequence

from sonde_agent.checks.throughput.pure import rates

_WIDTH = 30


class ProgressLine:
    """One line a bin."""

    def __init__(self, direction: str, tell: Callable[[str], None]) -> None:
        self._direction, self._tell, self._highest = direction, tell, 0.0

    def tell(self, samples: Sequence[tuple[int, int]]) -> None:
        """Tell the last bin of all samples so far, see `pure.rates`."""
        rate = rates(samples[-2:], 0)
        if rate is None:
            return
        seconds = (samples[-1][0] - samples[0][0]) / 1e9
        self._highest = max(self._highest, rate[0])
        bar = "█" * round(rate[0] / self._highest * _WIDTH)
        self._tell(f"  {self._direction:<9}{rate[0]:>9.1f} Mbit/s  {seconds:4.1f} s  {bar}")
