"""The remembered verdicts of all objects as what vantages say of them. **Pure.**

Nearly all series of a big fleet are simply well; they are told by a few array operations, and only the others
are looked at one by one.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from math import inf

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sonde_collector.health.entries import Verdicts
from sonde_collector.health.settings import Settings
from sonde_collector.health.words import LEAST_STALE_S, WELL, Check, Spoken, speak, stale_after
from sonde_proto.v1 import results_pb2

US = 1e6
_FAILURES: dict[int, str] = {
    number: name.removeprefix("FAILURE_").lower() for name, number in results_pb2.Failure.items()
}
Heard = dict[int, dict[int, dict[int, Spoken]]]
"""Object id → vantage id → series → what it says."""


@frozen(eq=False)
class Picture:
    """Verdicts of one kind of object, cut into series.

    Attributes:
        verdicts: sorted by object, vantage, series and time.
        starts, ends: of each series, as indexes of `verdicts`.
        fresh: which series were measured lately enough to count.
        settings: by object id.
        now: [s since 1970].
    """

    verdicts: Verdicts
    starts: NDArray[np.intp]
    ends: NDArray[np.intp]
    fresh: NDArray[np.bool_]
    settings: Mapping[int, Settings]
    now: float

    def checks(self, series: int, bad: Callable[[int, float], bool] | None = None) -> list[Check]:
        """Give one series' results, oldest first.

        Args:
            series: index into `starts`.
            bad: what else than a failure counts as one: status and answer time [ms] → whether.
        """
        part = self.verdicts[self.starts[series] : self.ends[series]]
        limit = self.settings[int(part["object"][0])].degraded_ms
        out = []
        for at, ok, failure, status, ms in zip(
            *(part[name].tolist() for name in ("at_us", "ok", "failure", "status", "ms")), strict=True
        ):
            well = bool(ok) if bad is None else not bad(status, ms)
            said = "" if well else _failure(failure, status)
            out.append(Check(at / US, well, limit is not None and ms > limit, said))
        return out


def picture(verdicts: Verdicts, settings: Mapping[int, Settings], now: float) -> Picture:
    """Give the picture of folded verdicts; those of objects without settings are left out.

    Args:
        verdicts: see `entries.fold`.
        settings: by object id.
        now: [s since 1970].
    """
    verdicts = verdicts[np.isin(verdicts["object"], np.fromiter(settings, np.int64, len(settings)))]
    if not len(verdicts):
        none = np.zeros(0, np.intp)
        return Picture(verdicts, none, none, none.astype(np.bool_), settings, now)
    change = np.ones(len(verdicts), np.bool_)
    change[1:] = False
    for name in ("object", "probe", "series"):
        change[1:] |= verdicts[name][1:] != verdicts[name][:-1]
    starts = np.flatnonzero(change)
    ends = np.concatenate((starts[1:], [len(verdicts)]))
    age = now - verdicts["at_us"][ends - 1] / US
    mine = [settings[one] for one in verdicts["object"][starts].tolist()]
    limit = np.array([LEAST_STALE_S if one.stale_after is None else one.stale_after for one in mine])
    fresh = age <= limit
    out = Picture(verdicts, starts, ends, fresh, settings, now)
    for series in np.flatnonzero(~fresh).tolist():
        if mine[series].stale_after is None:
            fresh[series] = age[series] <= stale_after(out.checks(series), mine[series])
    return out


def hear(seen: Picture, fit: NDArray[np.int64]) -> Heard:
    """Give what the vantages that are fit say of each object, by series.

    Args:
        seen: the picture.
        fit: ids of those vantages.
    """
    heard: Heard = {}
    if not len(seen.starts):
        return heard
    verdicts, starts, ends = seen.verdicts, seen.starts, seen.ends
    objects, probes, names = (verdicts[name][starts] for name in ("object", "probe", "series"))
    mine = [seen.settings[one] for one in objects.tolist()]
    limit = np.array([inf if one.degraded_ms is None else one.degraded_ms for one in mine])
    needed = np.array([one.healthy_threshold for one in mine])
    slow = verdicts["ms"] > np.repeat(limit, ends - starts)
    well = ends - _last(seen, (verdicts["ok"] == 0) | slow) > needed
    counts = np.flatnonzero(seen.fresh & np.isin(probes, fit))
    listed = zip(*(each[counts].tolist() for each in (objects, probes, names, well)), strict=True)
    for series, (one, probe, name, is_well) in zip(counts.tolist(), listed, strict=True):
        spoken = WELL if is_well else speak(seen.checks(series), seen.now, mine[series])
        if spoken is not None:
            heard.setdefault(one, {}).setdefault(probe, {})[name] = spoken
    return heard


def newest(seen: Picture, fit: NDArray[np.int64]) -> dict[int, float]:
    """Give when each object was last measured by a fit vantage. [s since 1970]"""
    counts = np.flatnonzero(np.isin(seen.verdicts["probe"][seen.starts], fit))
    if not len(counts):
        return {}
    objects, first = np.unique(seen.verdicts["object"][seen.starts[counts]], return_index=True)
    last = np.maximum.reduceat(seen.verdicts["at_us"][seen.ends[counts] - 1], first) / US
    return dict(zip(objects.tolist(), last.tolist(), strict=True))


@frozen
class Outage:
    """Whether an object works at all, by its newest results.

    Attributes:
        works: something of it has succeeded since anything of it failed.
        since: first failure, where it does not work and as many vantages as it takes say so; -inf = longer
            ago than is remembered; None = it works, or too few have looked since.
    """

    works: bool
    since: float | None


def outages(seen: Picture, fit: NDArray[np.int64]) -> Iterator[tuple[int, Outage]]:
    """Give each object that a fit vantage has measured lately, and whether it works.

    A success from before the first failure is no sign that it works: that vantage has not looked since.
    """
    if not len(seen.starts):
        return
    verdicts, starts, ends = seen.verdicts, seen.starts, seen.ends
    counts = np.flatnonzero(seen.fresh & np.isin(verdicts["probe"][starts], fit))
    first = _last(seen, verdicts["ok"] != 0) + 1
    works = first == ends
    old = first == starts
    at = verdicts["at_us"] / US
    begun = np.where(works, inf, np.where(old, -inf, at[np.minimum(first, ends - 1)]))
    listed = zip(
        verdicts["object"][starts[counts]].tolist(),
        verdicts["probe"][starts[counts]].tolist(),
        begun[counts].tolist(),
        at[ends[counts] - 1].tolist(),
        strict=True,
    )
    for one, group in groupby(listed, key=_object):
        yield one, _outage([row[1:] for row in group], seen.settings[one])


def _object(row: tuple[int, int, float, float]) -> int:
    return row[0]


def _outage(series: list[tuple[int, float, float]], settings: Settings) -> Outage:
    """Give the outage that series tell: vantage, when its failures began (inf = it works), newest result."""
    failing = [begun for _, begun, _ in series if begun != inf]
    if not failing:
        return Outage(works=True, since=None)
    since = min((begun for begun in failing if begun != -inf), default=-inf)
    if any(begun == inf and newest >= since for _, begun, newest in series):
        return Outage(works=True, since=None)
    vantages = {vantage for vantage, _, _ in series}
    failed = {vantage for vantage, begun, _ in series if begun != inf}
    return Outage(works=False, since=since if len(failed) >= settings.needed(len(vantages)) else None)


def _last(seen: Picture, marked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Give per series the index of its last marked verdict, start - 1 where there is none."""
    places = np.where(marked, np.arange(len(marked)), -1)
    last: NDArray[np.int64] = np.maximum(np.maximum.reduceat(places, seen.starts), seen.starts - 1)
    return last


def _failure(failure: int, status: int) -> str:
    if failure and failure != results_pb2.FAILURE_EXPECTATION:
        return _FAILURES.get(failure, f"failure {failure}")
    return f"status {status}" if status else "not as expected"
