"""A server that goes down and comes back: what health and notice are for."""

from sonde_lab.lab import Lab
from sonde_lab.programs import LabError

LASTS_S = 25.0
_BACK_BEFORE_END_S = 23.0  # so that its return is measured and told too
_FIRST_AT_S = 10.0
_AT_S = 60.0  # where nothing says how long the demo lasts

_DOWN = """\
table inet outage {
  chain in { type filter hook input priority -300; policy drop; }
  chain out { type filter hook output priority -300; policy drop; }
}
"""


class Outage:
    """One host of the lab loses every packet for a while.

    Args:
        lab: up.
        host: its name in there.
        seconds: how long the demo lasts; None = nobody knows.
    """

    def __init__(self, lab: Lab, host: str, seconds: float | None) -> None:
        self._lab, self._host = lab, host
        self._begins_s = begins(seconds)
        self._down = False
        self.happened = False

    def tend(self, passed_s: float) -> str | None:
        """Begin it, or end it, when that is due; gives what happened, for the screen.

        Args:
            passed_s: since the demo began to measure.
        """
        if self._begins_s is None:
            return None
        due = self._begins_s <= passed_s < self._begins_s + LASTS_S
        if due and not self.happened:
            self._nft("-f", "-", rules=_DOWN)
            self._down = self.happened = True
            return f"{self._host} goes down: every packet of it is lost now"
        if self._down and not due:
            self._nft("delete", "table", "inet", "outage")
            self._down = False
            return f"{self._host} is back"
        return None

    def _nft(self, *arguments: str, rules: str = "") -> None:
        script = 'printf %s "$1" | { shift; exec nft "$@"; }'
        done = self._lab.run(self._host, ["sh", "-c", script, "sh", rules, *arguments])
        if done.returncode:
            raise LabError(f"can't change the packet rules of {self._host}: {done.stderr.strip()}")


def begins(seconds: float | None) -> float | None:
    """Give when it begins [s]; None = the demo is too short for it. **Pure.**"""
    if seconds is None:
        return _AT_S
    at = seconds - LASTS_S - _BACK_BEFORE_END_S
    return at if at >= _FIRST_AT_S else None
