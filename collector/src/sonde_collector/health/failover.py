"""Origin groups in a turn: the states of their members, and who is active. **Pure.**"""

from collections.abc import Mapping

import numpy as np
from attrs import frozen

from sonde_collector.health import groups, tell
from sonde_collector.health.kept import Kept, Moved
from sonde_collector.health.picture import Picture
from sonde_collector.health.states import UNHEALTHY, UNKNOWN, Change, Standing, State, judge
from sonde_collector.health.tell import Event
from sonde_collector.health.watched import Group, Thing
from sonde_collector.health.words import Spoken, speak, together

OBJECT = "origin_group"


@frozen
class Chosen:
    """What became of a group."""

    kept: Kept
    moved: Moved | None
    event: Event | None


def choose(group: Group, members: Mapping[str, State], before: Kept | None, now: float) -> Chosen:
    """Give a group's active member and state.

    Args:
        group: which.
        members: state of each by key.
        before: as it was; None = never chosen.
        now: [s since 1970].
    """
    known = before.data["members"] if before else {}
    since = {
        key: known[key]["since"] if key in known and known[key]["state"] == state else now
        for key, state in members.items()
    }
    listed = [groups.Member(key, members[key], since[key]) for key in group.members]
    was = before.data["active"] if before else group.members[0]
    active = groups.choose(listed, was, now, group.return_after)
    state = groups.state_of(listed, active)
    old: State = before.standing.state if before else UNKNOWN
    reason = f'"{active}" is active' if active else "every member is down"
    standing = Standing(state, before.standing.since if before and state == old else now, reason)
    data = {
        "active": active,
        "members": {key: {"state": members[key], "since": since[key]} for key in members},
    }
    moved, event = None, None
    if active != was or state != old:
        moved = Moved(
            OBJECT, group.key, Change(old, state, reason, flapping=False, vantages=()), {"active": active}
        )
    if active != was:
        event = tell.failover(group, was, active, members, now)
    return Chosen(Kept(standing, now, held=False, data=data), moved, event)


def member_state(thing: Thing, own: State, group: Group, seen: Picture, codes: Mapping[int, str]) -> State:
    """Give the state of a member: its own, or UNHEALTHY by the group's criteria.

    Args:
        thing: the target.
        own: its state.
        group: whose codes and timeout count as failures.
        seen: the picture of targets.
        codes: of the vantages that may judge, by id.
    """
    said: dict[str, dict[str, Spoken]] = {}
    mine = np.flatnonzero(seen.verdicts["object"][seen.starts] == thing.id).tolist()
    for one in mine:
        first = seen.verdicts[seen.starts[one]]
        if int(first["probe"]) not in codes:
            continue
        spoken = speak(seen.checks(one, group.bad), seen.now, thing.settings)
        if spoken is not None:
            said.setdefault(codes[int(first["probe"])], {})[str(first["series"])] = spoken
    by_criteria = judge({code: together(one) for code, one in said.items()}, {}, thing.settings)
    return UNHEALTHY if by_criteria.state == UNHEALTHY else own
