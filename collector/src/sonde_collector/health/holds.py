"""When a provider fails as a whole: all its servers at once, from everywhere, the rest being fine. **Pure.**

That is seldom hundreds of broken servers. It is an account, a block of our addresses, or an outage of the
provider: one word to a person, who says which. Until then its servers keep their states, and what failed does
not count.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from attrs import frozen

from sonde_collector.health.settings import Settings

Verdict = Literal["down", "ours"]
_FINE = 0.5  # where so many of all others fail as well, it is not this provider alone
_ANSWERING = 0.5
_EDGE_S = 0.001  # seconds as floats are not exact to the microsecond, and the first failure belongs to it


@frozen
class Fresh:
    """A server or target that vantages have measured lately.

    Attributes:
        key: stable.
        provider: of a server; None for a target.
        works: something of it succeeds.
        failing_since: first failure, where nothing does and enough vantages say so; -inf = longer ago than is
            remembered.
    """

    key: str
    provider: int | None
    works: bool
    failing_since: float | None


@frozen
class Hold:
    """A stretch in which a provider failed as a whole. Times in seconds since 1970."""

    id: int
    provider: int
    since: float
    ended: float | None
    verdict: Verdict | None
    servers: Sequence[str]

    @property
    def keeps(self) -> bool:
        """Whether its servers keep their states for now."""
        return self.ended is None and self.verdict != "down"

    @property
    def excludes(self) -> bool:
        """Whether what failed in it does not count."""
        return self.verdict != "down"

    def covers(self, at: float) -> bool:
        """Tell whether a moment lies in it."""
        return self.since <= at and (self.ended is None or at <= self.ended)


@frozen
class Begins:
    """A hold that begins."""

    provider: int
    since: float
    servers: tuple[str, ...]


def begins(
    provider: int, servers: Sequence[Fresh], others: Iterable[Fresh], settings: Settings
) -> Begins | None:
    """Give the hold that a provider's servers call for; None = none.

    Args:
        provider: which.
        servers: of it.
        others: all else that is watched.
        settings: of the provider.
    """
    since = [one.failing_since for one in servers if one.failing_since is not None]
    if not since:
        return None
    newest = max(since)
    together = [
        one
        for one in servers
        if one.failing_since is not None and one.failing_since >= newest - settings.hold_within
    ]
    rest = sum(one.failing_since is None for one in servers)
    counted = len(together) + rest  # what has been dead for long proves nothing either way
    if len(together) < settings.hold_servers or len(together) < settings.hold_share * counted:
        return None
    if newest == float("-inf"):
        return None
    failing = [not one.works for one in others]
    if failing and sum(failing) >= _FINE * len(failing):
        return None
    starts = [one.failing_since for one in together if one.failing_since is not None]
    return Begins(provider, min(starts) - _EDGE_S, tuple(sorted(one.key for one in together)))


def ends(hold: Hold, servers: Iterable[Fresh]) -> bool:
    """Tell whether enough of a hold's servers answer again."""
    mine = [one for one in servers if one.key in hold.servers]
    return bool(mine) and sum(one.works for one in mine) >= _ANSWERING * len(mine)
