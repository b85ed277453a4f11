"""Who may have a lease now, and who must wait. **Pure**: no socket, clock or SQL.

Whatever a request wants is granted together or not at all. Who was denied stands in line: a session that
becomes free goes to the vantage that has waited longest and still asks, not to the one that asks first.
"""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

from attrs import field, frozen

from sonde_proto.v1 import control_pb2, results_pb2

TTL = dt.timedelta(seconds=15)
"""A lease lives so long without a renewal: a killed agent holds up the others no longer. [s]"""

LOGIN_WINDOW = dt.timedelta(seconds=65)
"""A minute as a provider counts it, and the seconds that may pass between a grant and its login. [s]"""

GRACE = dt.timedelta(seconds=3)
"""Who waits keeps the place for so long after the moment at which to ask again. [s]"""

FINAL_RETRY = dt.timedelta(seconds=60)
"""When to ask again where only a person can change the answer. [s]"""

_SOONEST_S, _PER_WAITER_S, _LATEST_S = (
    0.5,
    0.5,
    15.0,
)  # how soon who waits asks again, first in line or behind

_TOO_MANY = "this vantage has as many leases as [limits] leases of collector.toml allows"

NO_LEASE = results_pb2.MISS_REASON_NO_LEASE
CREDENTIAL = results_pb2.MISS_REASON_CREDENTIAL


@frozen(order=True)
class Resource:
    """What only so many may use at once.

    Attributes:
        kind: "target", "credential" or "key", as `Want.resource`.
        name: within its kind.
    """

    kind: str
    name: str


@frozen
class Account:
    """What a provider allows for a credential, and whether it still accepts it.

    Attributes:
        sessions: connections at once.
        logins: connections begun a minute; None = any number.
        linger: how long a connection counts that ended without a word.
        refused: in words, why no run of it may begin; "" = it may.
    """

    sessions: int
    logins: int | None = None
    same_key_twice: bool = False
    linger: dt.timedelta = dt.timedelta(seconds=60)
    refused: str = ""


@frozen
class Held:
    """A resource in use, or used within the last minute."""

    resource: Resource
    granted_at: dt.datetime
    expires_at: dt.datetime
    free_at: dt.datetime


@frozen
class Waiting:
    """A vantage in line for a resource; it has given up when it has not asked again by `until`."""

    resource: Resource
    probe_id: int
    since: dt.datetime
    until: dt.datetime


@frozen
class Scene:
    """All that is known about the resources of one request, at one moment of the database's clock."""

    now: dt.datetime
    accounts: Mapping[str, Account] = field(factory=dict)
    held: Sequence[Held] = ()
    waiting: Sequence[Waiting] = ()
    full: bool = False
    """Whether the vantage that asks has as many leases as one may have."""


@frozen
class Grant:
    """The lease may begin: what it holds until when, unless it is renewed or released."""

    holds: Sequence[Held]


@frozen
class Denial:
    """The run must wait.

    Attributes:
        reason: a `MissReason`.
        detail: in words for a person.
        retry: after which to ask again.
        lines: where the vantage stands in line now; none where waiting helps nothing, or it will not wait.
        too_many: it has as many leases as one vantage may have.
    """

    reason: results_pb2.MissReason.ValueType
    detail: str
    retry: dt.timedelta
    lines: Sequence[Waiting] = ()
    too_many: bool = False


def resources(wants: Sequence[control_pb2.Want]) -> list[Resource]:
    """Give what is wanted, each once, in one order for everybody. **Pure**.

    Raises:
        ValueError: a want names nothing.
    """
    found = set()
    for want in wants:
        kind = want.WhichOneof("resource")
        if kind is None:
            raise ValueError("a want names neither target, credential nor key")
        found.add(Resource(kind, getattr(want, kind)))
    return sorted(found)


def decide(
    wanted: Sequence[Resource],
    probe_id: int,
    scene: Scene,
    spread: float,
    patience: dt.timedelta | None = None,
) -> Grant | Denial:
    """Grant everything, or deny with the reason and the time to ask again. **Pure**.

    Args:
        wanted: distinct; see `resources`.
        probe_id: the vantage that asks.
        scene: about these resources at least.
        spread: parts those who wait, so that they do not come back all at once. [0..1)
        patience: for how long the vantage asks again; None = it does not say, and stands in line.
    """
    if scene.full:
        return Denial(NO_LEASE, _TOO_MANY, TTL, too_many=True)
    names = [resource.name for resource in wanted if resource.kind == "credential"]
    for name in names:
        if (denial := _final(name, scene.accounts.get(name))) is not None:
            return denial
    since = _since(wanted, probe_id, scene)
    shared_keys = any(scene.accounts[name].same_key_twice for name in names)
    lacks = [
        lack
        for resource in wanted
        if not (resource.kind == "key" and shared_keys)
        for lack in _lacks(resource, (since, probe_id), scene, spread)
    ]
    if not lacks:
        return Grant([_hold(resource, scene) for resource in wanted])
    retry = max(lack.retry for lack in lacks)
    gives_up = patience is not None and retry > patience
    lines = [
        Waiting(resource, probe_id, since, scene.now + retry + GRACE)
        for resource in dict.fromkeys(lack.resource for lack in lacks)
        if not gives_up
    ]
    return Denial(NO_LEASE, lacks[0].detail, retry, lines)


@frozen
class _Lack:
    resource: Resource
    detail: str
    retry: dt.timedelta


def _final(name: str, account: Account | None) -> Denial | None:
    if account is None:
        return Denial(
            NO_LEASE,
            f'no account of the fleet has the name "{name}": add it to the fleet file as '
            "[[provider.account]] and run `sonde-collector apply`",
            FINAL_RETRY,
        )
    if account.refused:
        return Denial(CREDENTIAL, account.refused, FINAL_RETRY)
    return None


def _since(wanted: Sequence[Resource], probe_id: int, scene: Scene) -> dt.datetime:
    """Since when the vantage has waited for any of this, asking again in time; now if it has not."""
    places = (
        line.since
        for line in scene.waiting
        if line.probe_id == probe_id and line.resource in wanted and line.until >= scene.now
    )
    return min(places, default=scene.now)


def _hold(resource: Resource, scene: Scene) -> Held:
    expires_at = scene.now + TTL
    linger = scene.accounts[resource.name].linger if resource.kind == "credential" else dt.timedelta(0)
    return Held(resource, scene.now, expires_at, expires_at + linger)


def _lacks(
    resource: Resource, place: tuple[dt.datetime, int], scene: Scene, spread: float
) -> Iterator[_Lack]:
    now = scene.now
    used = [held for held in scene.held if held.resource == resource]
    busy = [held for held in used if held.free_at > now]
    ahead = sum(
        line.resource == resource
        and line.probe_id != place[1]
        and line.until >= now
        and (line.since, line.probe_id) < place
        for line in scene.waiting
    )
    account = scene.accounts[resource.name] if resource.kind == "credential" else None
    capacity = account.sessions if account else 1
    if capacity - len(busy) - ahead < 1:
        yield _Lack(resource, _words(resource, capacity, ahead), _until_free(busy, ahead, now, spread))
    if account is None or account.logins is None:
        return
    logins = sorted(held.granted_at for held in used if held.granted_at > now - LOGIN_WINDOW)
    left = account.logins - len(logins)
    if left - ahead < 1:
        # So many of the logins must be a minute old before it is this vantage's turn.
        old = logins[min(ahead - left, len(logins) - 1)] if logins else now
        detail = f'account "{resource.name}" may log in {account.logins} times a minute, and has'
        yield _Lack(resource, detail, old + LOGIN_WINDOW - now)


def _words(resource: Resource, capacity: int, ahead: int) -> str:
    others = ", and others wait for it" if ahead else ""  # no number: who is told this tells it once
    match resource.kind:
        case "credential":
            sessions = "its one session is" if capacity == 1 else f"all its {capacity} sessions are"
            return f'account "{resource.name}": {sessions} in use{others}'
        case "key":
            return f"the key {resource.name} is in use by another run{others}"
        case _:
            return f'another run measures the throughput of "{resource.name}"{others}'


def _until_free(busy: Sequence[Held], ahead: int, now: dt.datetime, spread: float) -> dt.timedelta:
    """Give when to ask again: a live lease may end at any moment, one that lingers ends when it does."""
    if busy and all(held.expires_at <= now for held in busy):
        ends = sorted(held.free_at for held in busy)
        return ends[min(ahead, len(ends) - 1)] - now
    return dt.timedelta(seconds=min(_SOONEST_S + _PER_WAITER_S * (spread + ahead), _LATEST_S))
