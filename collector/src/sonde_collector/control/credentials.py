"""Whether an account is refused by its provider, or single servers turn it away. **Pure**.

An account that is turned away by three servers in a row, with no success between, is refused: that is the
account's fault, and no server's. Order is that of the runs' beginnings, so that a long run that ends late
proves nothing new.
"""

import datetime as dt
from collections.abc import Mapping

from attrs import evolve, field, frozen

SERVERS = 3
"""So many different servers make a refusal: fewer may be broken by themselves."""


@frozen
class Standing:
    """What is known of an account's last runs.

    Attributes:
        known_good: start of the newest run that was let in, or the time at which a person said to try again.
        failures: server -> start of its newest run that was turned away since then.
    """

    known_good: dt.datetime | None = None
    failures: Mapping[str, dt.datetime] = field(factory=dict)

    @property
    def refused(self) -> bool:
        """Whether the provider refuses the account."""
        return len(self.failures) >= SERVERS

    def let_in(self, at: dt.datetime) -> "Standing":
        """Give the standing after a run that began at `at` was let in."""
        good = at if self.known_good is None else max(at, self.known_good)
        return evolve(
            self,
            known_good=good,
            failures={server: when for server, when in self.failures.items() if when > good},
        )

    def turned_away(self, server: str, at: dt.datetime) -> "Standing":
        """Give the standing after `server` turned a run away that began at `at`."""
        if self.known_good is not None and at <= self.known_good:
            return self
        newest = max(at, self.failures.get(server, at))
        return evolve(self, failures={**self.failures, server: newest})
