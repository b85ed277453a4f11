"""Whether all plans together fit: a vantage's day, month and message, an account's sessions, a server's link.

What can't fit is refused, with the nearest plan that does. Pure.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from sonde_collector.control.assignments import Costed
from sonde_collector.inventory import cost
from sonde_collector.inventory.cost import DAY_S
from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.model import Account, Plan
from sonde_proto.units import format_duration, format_size

MONTH_DAYS = 31
_LARGEST_BODY = 15 << 20  # bytes: an agent takes messages of 16 MiB
_LONGEST_EVERY = 7 * DAY_S
_MINUTES, _HOURS = 600.0, 48 * 3600.0
Tasks = Mapping[str, Sequence[Costed]]


@attrs.frozen
class Use:
    """What the plans ask of one account.

    Attributes:
        at_once: sessions that can be open: as many as the account has, or as it has keys.
        session_s_per_day: what the plans need.
        logins_per_minute: on average.
        by_plan: plan key → its seconds.
        keys: different keys of its profiles, where there are fewer than sessions and each may be in use once.
    """

    account: Account
    at_once: int
    session_s_per_day: float
    logins_per_minute: float
    by_plan: Mapping[str, float]
    keys: int | None = None


def uses(fleet: Fleet, tasks: Tasks) -> list[Use]:
    """Give what the plans ask of every account, in the order of the fleet file. **Pure**."""
    seconds: dict[str, dict[str, float]] = {}
    logins: dict[str, float] = {}
    keys: dict[str, set[bytes]] = {}
    per_run = {plan.key: cost.tunnel_seconds(plan) for plan in fleet.plan}
    tunnels = ((code, one) for code, of_vantage in tasks.items() for one in of_vantage if one.way is not None)
    for code, one in tunnels:
        assert one.way is not None
        name, plan = one.way.credential, one.plan
        by_plan = seconds.setdefault(name, {})
        by_plan[plan.key] = by_plan.get(plan.key, 0.0) + per_run[plan.key] * DAY_S / plan.every
        logins[name] = logins.get(name, 0.0) + 60 / plan.every
        # A list's template holds one key; of another protocol there is none, and each vantage has its own.
        wireguard = one.way.protocol == "WireGuard"
        each = one.way.own_key if wireguard else f"{code} {one.task.key}".encode()
        keys.setdefault(name, set()).add(each)
    out = []
    for account in (account for provider in fleet.provider for account in provider.account):
        by_plan = seconds.get(account.key, {})
        own = len(keys.get(account.key, ()))
        few = None if account.same_key_twice or not own or own >= account.sessions else own
        whole = sum(by_plan.values())
        at_once = few or account.sessions
        out.append(Use(account, at_once, whole, logins.get(account.key, 0.0), by_plan, few))
    return out


def misfits(fleet: Fleet, tasks: Tasks, bodies: Mapping[str, bytes]) -> list[str]:
    """Give every reason why the plans can't all be run, each with the nearest that fits. **Pure**.

    Args:
        fleet: with every server.
        tasks: of each vantage.
        bodies: of each vantage, as it is sent.
    """
    plans = {plan.key: plan for plan in fleet.plan}
    return [
        *(line for vantage in fleet.vantage for line in _vantage(vantage.code, tasks[vantage.code], plans)),
        *_months(fleet, tasks, plans),
        *_bodies(bodies),
        *(line for use in uses(fleet, tasks) for line in _account(use, plans)),
        *_links(tasks, plans),
    ]


def _vantage(code: str, tasks: Sequence[Costed], plans: Mapping[str, Plan]) -> Iterator[str]:
    by_plan = _sums((one.plan.key, one.cost.exclusive_s_per_day) for one in tasks)
    if (whole := sum(by_plan.values())) > DAY_S:
        yield (
            f"vantage {code}: throughput runs take {whole / 3600:.1f} hours a day, one at a time; "
            f"{_nearest(by_plan, DAY_S, plans)}"
        )


def _months(fleet: Fleet, tasks: Tasks, plans: Mapping[str, Plan]) -> Iterator[str]:
    for vantage in fleet.vantage:
        if vantage.monthly_gb is None:
            continue
        by_plan = _sums((one.plan.key, one.cost.bytes_per_day * MONTH_DAYS) for one in tasks[vantage.code])
        allowed, whole = vantage.monthly_gb * 1e9, sum(by_plan.values())
        if whole > allowed:
            yield (
                f"vantage {vantage.code}: up to {whole / 1e9:.1f} GB a month, and monthly_gb = "
                f"{vantage.monthly_gb:g}; "
                f"{_nearest(by_plan, allowed, plans)}{_smaller(by_plan, allowed, plans)}"
            )


def _bodies(bodies: Mapping[str, bytes]) -> Iterator[str]:
    for code, body in bodies.items():
        if len(body) > _LARGEST_BODY:
            yield (
                f"vantage {code}: its tasks are {format_size(len(body))}, and an agent takes "
                f"{format_size(_LARGEST_BODY)}: spread the servers over vantages with vantages_per_server"
            )


def _account(use: Use, plans: Mapping[str, Plan]) -> Iterator[str]:
    name, capacity = use.account.key, use.at_once * DAY_S
    if use.session_s_per_day > capacity:
        why = f"{use.at_once} session(s)" if use.keys is None else f"{use.keys} key(s), each in use once"
        yield (
            f"account {name}: {use.session_s_per_day / 3600:.1f} session-hours a day, and {why} give "
            f"{capacity / 3600:.0f}; {_nearest(use.by_plan, capacity, plans)}"
        )
    allowed = use.account.logins_per_minute
    if allowed is not None and use.logins_per_minute > allowed:
        times = use.logins_per_minute / allowed
        yield (
            f"account {name}: {use.logins_per_minute:.1f} logins a minute, and logins_per_minute = "
            f"{allowed}; "
            f"the nearest that fits: {_all_longer(use.by_plan, times, plans)}"
        )


def _links(tasks: Tasks, plans: Mapping[str, Plan]) -> Iterator[str]:
    """Judge servers: fleet-wide, one throughput run at a time goes to each."""
    by_server: dict[str, dict[str, float]] = {}
    for one in (one for of_vantage in tasks.values() for one in of_vantage if one.cost.exclusive_s_per_day):
        by_plan = by_server.setdefault(one.task.target, {})
        by_plan[one.plan.key] = by_plan.get(one.plan.key, 0.0) + one.cost.exclusive_s_per_day
    full = {server: by_plan for server, by_plan in by_server.items() if sum(by_plan.values()) > DAY_S}
    for server, by_plan in list(full.items())[:1]:
        more = f" (and {len(full) - 1} more servers)" if len(full) > 1 else ""
        yield (
            f"server {server}{more}: throughput runs of all vantages take "
            f"{sum(by_plan.values()) / 3600:.1f} hours a day, and one runs at a time; "
            f"{_nearest(by_plan, DAY_S, plans)}"
        )


def _sums(pairs: Iterable[tuple[str, float]]) -> dict[str, float]:
    out: dict[str, float] = {}
    for name, value in pairs:
        out[name] = out.get(name, 0.0) + value
    return out


def _nearest(by_plan: Mapping[str, float], capacity: float, plans: Mapping[str, Plan]) -> str:
    """Give the least change that fits: a longer interval of the plan that takes most, else of all."""
    key = max(by_plan, key=lambda name: by_plan[name])
    left = capacity - (sum(by_plan.values()) - by_plan[key])
    longer = _longer(plans[key], by_plan[key] / left) if left > 0 else None
    if longer is not None:
        return f'the nearest that fits is every = "{longer}" in plan {key}, now "{_every(plans[key])}"'
    return f"the nearest that fits: {_all_longer(by_plan, sum(by_plan.values()) / capacity, plans)}"


def _all_longer(by_plan: Mapping[str, float], times: float, plans: Mapping[str, Plan]) -> str:
    changed = {key: _longer(plans[key], times) for key in sorted(by_plan)}
    if any(every is None for every in changed.values()):
        return f"{math.ceil(times)} times fewer servers or vantages, as no interval is longer than 7d"
    return " and ".join(f'every = "{every}" in plan {key}' for key, every in changed.items())


def _longer(plan: Plan, times: float) -> str | None:
    """Give the interval that is `times` as long, rounded up to what a person would write; None = too long."""
    seconds = plan.every * times
    unit = 1.0 if seconds < _MINUTES else 60.0 if seconds < _HOURS else 3600.0
    rounded = math.ceil(seconds / unit - 1e-9) * unit
    return format_duration(rounded) if rounded <= _LONGEST_EVERY else None


def _smaller(by_plan: Mapping[str, float], allowed: float, plans: Mapping[str, Plan]) -> str:
    """Give, beside a longer interval, smaller throughput runs of the plan that takes most."""
    key = max(by_plan, key=lambda name: by_plan[name])
    left = allowed - (sum(by_plan.values()) - by_plan[key])
    plan = plans[key]
    if not plan.loads or left <= 0:
        return ""
    each = cost.load_bytes(plan.throughput) * left / by_plan[key]
    megabytes = math.floor(each * 0.99 / 1e6)
    return f', or throughput.max_bytes = "{megabytes}MB"' if megabytes else ""


def _every(plan: Plan) -> str:
    return format_duration(plan.every)
