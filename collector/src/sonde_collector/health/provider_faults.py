"""Results without those of providers that fail as a whole; where such a stretch begins and ends. **Pure.**"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from attrs import define, evolve, field
from numpy.typing import NDArray

from sonde_collector.health import holds, tell
from sonde_collector.health.entries import Verdicts
from sonde_collector.health.holds import Begins, Fresh, Hold
from sonde_collector.health.picture import US, outages, picture
from sonde_collector.health.tell import Event
from sonde_collector.health.watched import KINDS, Kind, Watched


@define
class Holding:
    """The holds of this turn.

    Attributes:
        holds: by provider; those that begin now have id 0.
        begins, ends: what changes.
        events: about these.
        rows: verdicts whose results leave the books.
    """

    holds: dict[int, list[Hold]] = field(factory=dict)
    begins: list[Begins] = field(factory=list)
    ends: list[Hold] = field(factory=list)
    events: list[Event] = field(factory=list)
    rows: list[Verdicts] = field(factory=list)

    def keeps(self, provider: int | None) -> bool:
        """Tell whether a provider's servers keep their states."""
        return provider is not None and any(hold.keeps for hold in self.holds.get(provider, ()))

    def without(self, verdicts: Verdicts, watched: Watched) -> Verdicts:
        """Give servers' verdicts without those that do not count."""
        for provider, mine in self.holds.items():
            for hold in mine:
                if hold.excludes:
                    verdicts = verdicts[~_failed_in(hold, verdicts, _servers(watched, provider))]
        return verdicts


def look(
    watched: Watched,
    windows: Mapping[Kind, Verdicts],
    new: Verdicts,
    fit: Sequence[int],
    now: float,
) -> Holding:
    """Give the holds as they are now.

    Args:
        watched: the inventory, with the holds as they were.
        windows: by kind, without what vantages have spoilt.
        new: of servers, what came since the last turn.
        fit: ids of the vantages that may judge.
        now: [s since 1970].
    """
    out = Holding()
    fresh = [one for kind in KINDS for one in _fresh(watched, windows[kind], kind, fit, now)]
    by_provider: dict[int, list[Fresh]] = {}
    for one in fresh:
        if one.provider is not None:
            by_provider.setdefault(one.provider, []).append(one)
    for hold in watched.holds:
        out.holds.setdefault(hold.provider, []).append(
            _go_on(out, hold, watched, windows["server"], by_provider)
        )
    for provider, servers in by_provider.items():
        if any(hold.ended is None for hold in out.holds.get(provider, ())):
            continue
        others = (one for one in fresh if one.provider != provider)
        begins = holds.begins(provider, servers, others, watched.provider_settings[provider])
        if begins is not None:
            codes = sorted(watched.vantages[one].code for one in fit)
            out.begins.append(begins)
            out.events.append(tell.held(watched.providers[provider], begins, codes))
            hold = Hold(0, provider, begins.since, None, None, begins.servers)
            out.holds.setdefault(provider, []).append(hold)
    for hold in (hold for mine in out.holds.values() for hold in mine if hold.excludes):
        verdicts = windows["server"] if hold.id == 0 else new
        failed = _failed_in(hold, verdicts, _servers(watched, hold.provider))
        if failed.any():
            out.rows.append(verdicts[failed])
    return out


def _go_on(
    out: Holding,
    hold: Hold,
    watched: Watched,
    verdicts: Verdicts,
    servers: Mapping[int, Sequence[Fresh]],
) -> Hold:
    """Give a hold as it is now: it ends where its servers answer again."""
    if hold.ended is not None or not holds.ends(hold, servers.get(hold.provider, ())):
        return hold
    hold = evolve(hold, ended=_answered(hold, watched, verdicts))
    out.ends.append(hold)
    out.events.append(
        tell.released(watched.providers[hold.provider], hold.since, judged=hold.verdict is not None)
    )
    return hold


def _answered(hold: Hold, watched: Watched, verdicts: Verdicts) -> float:
    """Give when the last of those servers that answer did so for the first time: what fails later counts."""
    listed = [one.id for one in watched.servers.values() if one.key in hold.servers]
    well = (verdicts["ok"] != 0) & (verdicts["at_us"] / US > hold.since) & np.isin(verdicts["object"], listed)
    first: dict[int, int] = {}
    for one, at in zip(verdicts["object"][well].tolist(), verdicts["at_us"][well].tolist(), strict=True):
        first[one] = min(at, first.get(one, at))
    return max(first.values(), default=0) / US


def _fresh(
    watched: Watched, verdicts: Verdicts, kind: Kind, fit: Sequence[int], now: float
) -> Iterable[Fresh]:
    things = watched.things(kind)
    seen = picture(verdicts, {thing.id: thing.settings for thing in things.values()}, now)
    for one, outage in outages(seen, np.array(fit, np.int64)):
        yield Fresh(things[one].key, things[one].provider, outage.works, outage.since)


def _servers(watched: Watched, provider: int) -> NDArray[np.int64]:
    return np.array([one.id for one in watched.servers.values() if one.provider == provider], np.int64)


def _failed_in(hold: Hold, verdicts: Verdicts, servers: NDArray[np.int64]) -> NDArray[np.bool_]:
    at = verdicts["at_us"] / US
    out: NDArray[np.bool_] = (verdicts["ok"] == 0) & (at >= hold.since) & np.isin(verdicts["object"], servers)
    return out if hold.ended is None else out & (at <= hold.ended)
