"""What people are to hear of: one event for each change. **Pure.**"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from sonde_collector.health.certificates import DAY_S, Notice
from sonde_collector.health.holds import Begins
from sonde_collector.health.states import HEALTHY, SEVERITY, Change, State
from sonde_collector.health.watched import Group

_SHOWN = 5


@frozen
class Event:
    """One row of sonde.events."""

    kind: str
    subject: str
    detail: str
    data: dict[str, Any]
    dedup: str
    severity: str
    topic: str
    resolved: bool


def changed(kind: str, key: str, change: Change, now: float) -> Event:
    """Give the event of a change of state."""
    why = f": {change.reason}" if change.reason else ""
    return Event(
        "health_changed",
        key,
        f'{kind} "{key}" is {change.after}, was {change.before}{why}',
        {
            "object": kind, "key": key, "from": change.before, "to": change.after, "reason": change.reason,
            "flapping": change.flapping, "vantages": list(change.vantages),
        },
        f"health_changed/{kind}/{key}/{now:.6f}",
        SEVERITY[change.after],
        f"health/{kind}/{key}",
        change.after == HEALTHY,
    )  # fmt: skip


def gone(kind: str, key: str, before: State, now: float) -> Event:
    """Give the event that ends what was told of a thing that is not watched any more."""
    reason = "no longer watched"
    return Event(
        "health_changed", key, f'{kind} "{key}" is {reason}',
        {"object": kind, "key": key, "from": before, "to": "UNKNOWN", "reason": reason, "vantages": []},
        f"health_changed/{kind}/{key}/{now:.6f}", "info", f"health/{kind}/{key}", True,
    )  # fmt: skip


def failover(
    group: Group, before: str | None, after: str | None, states: Mapping[str, State], now: float
) -> Event:
    """Give the event of an origin group whose active member is another one."""
    key, preferred = group.key, group.members[0]
    back = after == preferred
    if after is None:
        detail = f'origin group "{key}": every member is down'
    elif back:
        detail = f'origin group "{key}" is back at "{after}"'
    else:
        detail = f'origin group "{key}" goes over from "{before or preferred}" to "{after}"'
    severity = "critical" if after is None else "info" if back else "warning"
    return Event(
        "origin_failover", key, detail, {"from": before, "to": after, "members": dict(states)},
        f"origin_failover/{key}/{now:.6f}", severity, f"origin_failover/{key}", back,
    )  # fmt: skip


def certificate(key: str, notice: Notice, now: float) -> Event:
    """Give the event of a certificate that ends soon, or was renewed."""
    end = datetime.fromtimestamp(notice.not_after, UTC)
    where = ", ".join(address for address in notice.addresses[:_SHOWN] if address)
    if notice.days is None:
        detail = f'the certificate of "{key}" is renewed: valid until {end:%Y-%m-%d %H:%M} UTC'
    elif notice.not_after <= now:
        detail = f'the certificate of "{key}" ended at {end:%Y-%m-%d %H:%M} UTC'
    else:
        left = (notice.not_after - now) / DAY_S
        detail = f'the certificate of "{key}" ends in {left:.1f} days, at {end:%Y-%m-%d %H:%M} UTC'
    threshold = "renewed" if notice.days is None else notice.days
    return Event(
        "certificate_expiring", key, f"{detail}{where and f' ({where})'}",
        {"not_after": end.isoformat(), "threshold_days": notice.days, "addresses": list(notice.addresses)},
        f"certificate_expiring/{key}/{notice.not_after:.0f}/{threshold}",
        notice.severity, f"certificate_expiring/{key}", notice.days is None,
    )  # fmt: skip


def held(provider: str, begins: Begins, vantages: Sequence[str]) -> Event:
    """Give the event of a provider that fails as a whole."""
    since = datetime.fromtimestamp(begins.since, UTC)
    count = len(begins.servers)
    return Event(
        "provider_held", provider,
        f'all servers of provider "{provider}" fail at once since {since:%H:%M:%S} UTC ({count}): states and '
        f"uptime wait until `sonde-collector health judge {provider} down` (it is away) or `… ours` (it "
        "shuts us out)",
        {"servers": list(begins.servers), "since": since.isoformat(), "vantages": list(vantages)},
        f"provider_held/{provider}/{begins.since:.6f}", "critical", f"provider_held/{provider}", False,
    )  # fmt: skip


def released(provider: str, since: float, *, judged: bool) -> Event:
    """Give the event of a held provider whose servers answer again."""
    wait = (
        ""
        if judged
        else f"; what failed meanwhile waits for `sonde-collector health judge {provider} down|ours`"
    )
    return Event(
        "provider_held", provider, f'servers of provider "{provider}" answer again{wait}', {"judged": judged},
        f"provider_held/{provider}/{since:.6f}/ended", "info", f"provider_held/{provider}", True,
    )  # fmt: skip


def judged(provider: str, since: float, verdict: str, results: int) -> Event:
    """Give the event of a judgement."""
    said = (
        f"was down: {results} held results count"
        if verdict == "down"
        else "shut us out: its failures never count"
    )
    return Event(
        "provider_judged", provider, f'provider "{provider}" {said}',
        {"verdict": verdict, "results": results},
        f"provider_judged/{provider}/{since:.6f}/{verdict}", "info", f"provider_held/{provider}", True,
    )  # fmt: skip
