"""Which member of an origin group is active: the preferred one, unless it is down. **Pure.**"""

from collections.abc import Mapping, Sequence

from attrs import frozen

from sonde_collector.health.states import DEGRADED, HEALTHY, UNHEALTHY, UNKNOWN, State

_RANK: Mapping[State, int] = {HEALTHY: 0, DEGRADED: 1, UNKNOWN: 2}


@frozen
class Member:
    """A target of a group.

    Attributes:
        state: its own, or UNHEALTHY by the group's failover criteria.
        since: for how long, in seconds since 1970.
    """

    key: str
    state: State
    since: float


def choose(members: Sequence[Member], active: str | None, now: float, return_after: float) -> str | None:
    """Give the active member; None = every one is down.

    The active one stays until it is down, or until one that is preferred to it has been healthy for
    `return_after`. Then the first healthy one follows, else the first degraded one, else one nobody knows of.

    Args:
        members: in the order of preference.
        active: who it is; None = nobody yet, or all were down.
        now: [s since 1970].
        return_after: [s].
    """
    order = {member.key: i for i, member in enumerate(members)}
    mine = next((member for member in members if member.key == active and member.state != UNHEALTHY), None)
    if mine is not None:
        for member in members[: order[mine.key]]:
            if member.state == HEALTHY and now - member.since >= return_after:
                return member.key
        return mine.key
    usable = [member for member in members if member.state != UNHEALTHY]
    best = min(usable, key=lambda member: (_RANK[member.state], order[member.key]), default=None)
    return best.key if best else None


def state_of(members: Sequence[Member], active: str | None) -> State:
    """Give the group's state: HEALTHY only while its first member is active and well."""
    mine = next((member for member in members if member.key == active), None)
    if mine is None:
        return UNHEALTHY
    if mine.state == UNKNOWN:
        return UNKNOWN
    return HEALTHY if mine.state == HEALTHY and mine is members[0] else DEGRADED
