"""Which troubles of the fleet itself begin or end now. **Pure**.

Each trouble has a topic. It begins once and ends once: what goes on is known by its topic, and ends only when
the figure is well again by a margin, so that one that swings about its bound is not told at each swing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from attrs import evolve, frozen

from sonde_proto.units import format_duration, format_size

Severity = Literal["info", "warning", "critical"]
_MARGIN = 0.5  # of its bound a figure must fall to before its trouble is over
_DISK_MARGIN = 1.2  # of the share below which a disk is low, free again
_LEAST_HISTORY_S = 6 * 3600.0  # of a disk, before anything is said of the day on which it ends
_CERTIFICATE_SHARE = 0.25  # of its life: agents renew when a third is left
_DAY_S = 86_400.0
_STALE = "rule_stale"
_LIMITED = "agent_limited"

MOST_A_DAY = 20
"""Beginnings of one topic that are told within a day: whoever says what its agent is could say so all day."""


@frozen
class Bounds:
    """Beyond which something is trouble.

    Attributes:
        silent_s: an agent that said nothing for so long.
        clock_ms: an agent's clock that is off by so much, either way.
        spool_s: an agent whose oldest result has waited for so long.
        spool_bytes: an agent whose spool holds so much.
        certificate_s: an agent's certificate that ends so soon, or in a quarter of its life if that is less.
        rejected: so many results of one agent set aside in ten minutes.
        disk_share: so little of the disk is free, of 1.
        disk_days: the disk ends in so many days.
    """

    silent_s: float
    clock_ms: float
    certificate_s: float
    spool_s: float
    spool_bytes: float
    rejected: int
    disk_share: float
    disk_days: float


@frozen
class Disk:
    """A disk that a collector writes.

    Attributes:
        host: the collector's.
        path: what lies on it.
        samples: (seconds, free bytes), the oldest first; at least one.
        total: bytes.
    """

    host: str
    path: str
    samples: Sequence[tuple[float, float]]
    total: float

    @property
    def free(self) -> float:
        """Bytes, now."""
        return self.samples[-1][1]

    @property
    def days_left(self) -> float | None:
        """Days until it ends, as it fills now; None: it does not fill, or was not watched for long enough."""
        (began, before), (at, free) = self.samples[0], self.samples[-1]
        if at - began < _LEAST_HISTORY_S or free >= before:
            return None
        return free / (before - free) * (at - began) / _DAY_S


@frozen
class Trouble:
    """What begins or ends: a row of sonde.events."""

    kind: str
    subject: str
    severity: Severity
    detail: str
    data: Mapping[str, Any]
    resolved: bool = False

    @property
    def topic(self) -> str:
        """The same when it begins and when it ends."""
        return f"{self.kind}/{self.subject}"


@frozen
class _Figure:
    """One thing watched: whether it is bad, or well again; between the two all stays as it is."""

    kind: str
    subject: str
    severity: Severity
    bad: bool
    well: bool
    says: str
    data: Mapping[str, Any]


def of_agents(rows: Iterable[Mapping[str, Any]], bounds: Bounds, going_on: frozenset[str]) -> list[Trouble]:
    """Give what begins and ends with agents.

    Args:
        rows: one for each vantage: vantage, active, silent_s (None: never heard), clock_offset_ms, lag_s,
            spool_bytes, paused, rejected, certificate_left_s and certificate_life_s (None: none issued here).
        bounds: as set.
        going_on: topics that began and did not end.
    """
    return _changes((figure for row in rows for figure in _agent(row, bounds)), going_on)


def of_limits(rows: Iterable[Mapping[str, Any]], going_on: frozenset[str]) -> list[Trouble]:
    """Give what begins and ends with vantages that meet the limits of collectors.

    Args:
        rows: one for each that met one in the last ten minutes: vantage, met (in words).
        going_on: topics that began and did not end; who is in no row keeps within the limits again.
    """
    figures = []
    for row in rows:
        name, met = row["vantage"], row["met"]
        says = f"{met}; an agent in order meets no limit: see to its host, or `agents revoke {name}`"
        figures.append(_Figure(_LIMITED, name, "warning", bad=True, well=False, says=says, data={"met": met}))
    met_by = {figure.subject for figure in figures}
    for topic in sorted(going_on):
        kind, _, name = topic.partition("/")
        if kind == _LIMITED and name not in met_by:
            says = f"{name} keeps within the limits again"
            figures.append(_Figure(_LIMITED, name, "warning", bad=False, well=True, says=says, data={}))
    return _changes(figures, going_on)


def seldom(troubles: Iterable[Trouble], begun: Mapping[str, int]) -> list[Trouble]:
    """Leave out what begins for more than the `MOST_A_DAY`th time in a day; the last that is told says so.

    Args:
        troubles: that begin or end now.
        begun: how often each topic began within a day.
    """
    out = []
    for one in troubles:
        times = begun.get(one.topic, 0) + 1
        if one.resolved or times < MOST_A_DAY:
            out.append(one)
        elif times == MOST_A_DAY:
            more = f"{one.detail} (for the {times}th time in a day: not told again until it is less often)"
            out.append(evolve(one, detail=more))
    return out


def of_disk(disk: Disk, bounds: Bounds, going_on: frozenset[str]) -> list[Trouble]:
    """Give what begins or ends with a disk."""
    share, days = disk.free / max(disk.total, 1.0), disk.days_left
    soon = days is not None and days < bounds.disk_days
    later = days is None or days >= bounds.disk_days * _DISK_MARGIN
    ends = "" if days is None else f", and it ends in {days:.1f} days as it fills now"
    figure = _Figure(
        "disk_low",
        disk.host,
        "critical",
        share < bounds.disk_share or soon,
        share >= bounds.disk_share * _DISK_MARGIN and later,
        f'{format_size(int(disk.free))} ({share:.1%}) of the disk of "{disk.path}" are free{ends}',
        {"path": disk.path, "free_bytes": int(disk.free), "total_bytes": int(disk.total), "days_left": days},
    )
    return _changes([figure], going_on)


def of_rules(rows: Iterable[Mapping[str, Any]], going_on: frozenset[str]) -> list[Trouble]:
    """Give what begins and ends with rules of unlock checks.

    Args:
        rows: one for each version that canaries use: platform, name, version, state ("fine", "stale",
            "unknown"), vantages, doubting.
        going_on: topics that began and did not end; what no canary uses any more ends.
    """
    figures = [_rule(row) for row in rows]
    topics = {f"{each.kind}/{each.subject}" for each in figures}
    for topic in sorted(going_on - topics):
        kind, _, subject = topic.partition("/")
        if kind == _STALE:
            says = f"no canary uses rule {subject} any more, or it is voided"
            figures.append(_Figure(_STALE, subject, "warning", bad=False, well=True, says=says, data={}))
    return _changes(figures, going_on)


def _rule(row: Mapping[str, Any]) -> _Figure:
    stale, subject = row["state"] == "stale", f"{row['platform']}@{row['version']}"
    says = (
        f"rule {subject} does not know what {row['name']} answers any more: inconclusive in a row at "
        f"{row['doubting']} of {row['vantages']} vantages, where no exit is at fault; it judges no server "
        "until it is mended"
        if stale
        else f"rule {subject} knows what {row['name']} answers"
    )
    data = {name: row[name] for name in ("platform", "version", "vantages", "doubting")}
    return _Figure(_STALE, subject, "warning", stale, row["state"] == "fine", says, data)


def _changes(figures: Iterable[_Figure], going_on: frozenset[str]) -> list[Trouble]:
    out = []
    for one in figures:
        begun = f"{one.kind}/{one.subject}" in going_on
        if one.bad and not begun:
            out.append(Trouble(one.kind, one.subject, one.severity, one.says, one.data))
        elif one.well and begun:
            out.append(Trouble(one.kind, one.subject, "info", one.says, one.data, resolved=True))
    return out


def _agent(row: Mapping[str, Any], bounds: Bounds) -> Iterator[_Figure]:
    """Give what is watched of one agent; nothing of one that was never heard."""
    if row["silent_s"] is None:
        return
    name, silent_s = row["vantage"], row["silent_s"]
    silent = silent_s >= bounds.silent_s and not row["paused"]  # whom nobody asks may be silent
    well = "is paused" if row["paused"] else "is heard"
    says = f"said nothing for {_long(silent_s)}" if silent else well
    figures = [
        _Figure(
            "agent_silent",
            name,
            "critical",
            silent,
            not silent,
            f"the agent at {name} {says}",
            {"silent_s": round(silent_s)},
        ),
        _rejected(name, row["rejected"], bounds),
    ]
    if row["certificate_left_s"] is not None:
        figures.append(_certificate(name, row["certificate_left_s"], row["certificate_life_s"], bounds))
    if not silent and not row["paused"]:  # what a silent agent said last is no news of it
        figures += [
            _clock(name, row["clock_offset_ms"], bounds),
            _spool(name, row["lag_s"] or 0.0, row["spool_bytes"] or 0, bounds),
        ]
    if row["active"]:
        yield from figures
    else:  # it left the inventory: nothing of it is trouble any more
        yield from (evolve(each, bad=False, well=True) for each in figures)


def _clock(name: str, offset_ms: float | None, bounds: Bounds) -> _Figure:
    off = abs(offset_ms or 0.0)
    return _Figure(
        "agent_clock",
        name,
        "warning",
        off > bounds.clock_ms,
        offset_ms is not None and off <= bounds.clock_ms * _MARGIN,
        f"the clock at {name} is {off:.0f} ms {'ahead' if (offset_ms or 0.0) < 0 else 'behind'}",
        {"clock_offset_ms": offset_ms},
    )


def _certificate(name: str, left_s: float, life_s: float, bounds: Bounds) -> _Figure:
    bound = min(bounds.certificate_s, life_s * _CERTIFICATE_SHARE)
    when = f"ends in {_long(left_s)}" if left_s > 0 else f"ended {_long(-left_s)} ago"
    bad = left_s < bound
    mend = (
        f": its agent should have renewed it; `sonde-agent doctor` there, or agents token {name}"
        if bad
        else ""
    )
    return _Figure(
        "agent_certificate",
        name,
        "warning",
        bad,
        not bad,
        f"the certificate of {name} {when}{mend}",
        {"left_s": round(left_s)},
    )


def _spool(name: str, lag_s: float, size: int, bounds: Bounds) -> _Figure:
    return _Figure(
        "agent_spool",
        name,
        "warning",
        lag_s > bounds.spool_s or size > bounds.spool_bytes,
        lag_s <= bounds.spool_s * _MARGIN and size <= bounds.spool_bytes * _MARGIN,
        f"{format_size(size)} of results wait at {name}, the oldest for {_long(lag_s)}",
        {"lag_s": round(lag_s), "spool_bytes": size},
    )


def _rejected(name: str, count: int, bounds: Bounds) -> _Figure:
    why = ": `sonde-collector status` tells why" if count else ""
    return _Figure(
        "results_rejected",
        name,
        "warning",
        count >= bounds.rejected,
        count == 0,
        f"{count} results of {name} were set aside in ten minutes{why}",
        {"rejected": count},
    )


def _long(seconds: float) -> str:
    return format_duration(round(seconds))
