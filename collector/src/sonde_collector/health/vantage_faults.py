"""Results without those that a vantage's own line has spoilt. **Pure.**"""

from collections.abc import Mapping

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sonde_collector.health import lines
from sonde_collector.health.entries import Verdicts, family_of
from sonde_collector.health.lines import Gap, Line
from sonde_collector.health.picture import US
from sonde_collector.health.watched import KINDS, Kind, Thing, Watched


@frozen(eq=False)
class Cleared:
    """What is left to judge by.

    Attributes:
        windows: verdicts by kind, a target's addresses joined where they are not judged one by one.
        unfit: vantages that can't judge now, with the reason.
        lines: those that changed.
    """

    windows: dict[Kind, Verdicts]
    unfit: dict[int, str]
    lines: dict[int, Line]


def clear(
    watched: Watched, known: Mapping[Kind, Verdicts], new: Mapping[Kind, Verdicts], now: float
) -> Cleared:
    """Give what is left to judge by.

    Args:
        watched: the inventory, with the lines as they were.
        known: windows by kind.
        new: what came since the last turn, by kind.
        now: [s since 1970].
    """
    windows = {kind: _joined(known[kind], watched.things(kind)) for kind in KINDS}
    seen = _by_vantage(watched, windows)
    before = {one: watched.lines.get(one, Line()) for one in seen}
    for verdicts in new.values():
        for probe in np.unique(verdicts["probe"]).tolist():
            if probe in before:
                successes = verdicts["at_us"][(verdicts["probe"] == probe) & (verdicts["ok"] == 1)]
                before[probe] = lines.notice(before[probe], successes.tolist())
    unfit = {one.id: one.unfit for one in watched.vantages.values() if one.unfit}
    changed: dict[int, Line] = {}
    for probe, (line, down) in lines.judge(before, seen).items():
        if line != watched.lines.get(probe):
            changed[probe] = line
        if any(gap.end > now * US for gap in down):
            unfit.setdefault(probe, "has lost its own line")
        for gap in down:
            windows = {kind: verdicts[~_spoilt(verdicts, probe, gap)] for kind, verdicts in windows.items()}
    return Cleared(windows, unfit, changed)


def _joined(verdicts: Verdicts, things: Mapping[int, Thing]) -> Verdicts:
    """Give verdicts in which a target that is no set of addresses has one series per family, in order."""
    joined = [thing.id for thing in things.values() if thing.kind == "target" and not thing.split]
    chosen = np.isin(verdicts["object"], joined)
    if not chosen.any():
        return verdicts
    verdicts = verdicts.copy()
    verdicts["series"][chosen] = family_of(verdicts["series"][chosen])
    return verdicts[np.lexsort([verdicts[name] for name in ("at_us", "series", "probe", "object")])]


def _by_vantage(
    watched: Watched, windows: Mapping[Kind, Verdicts]
) -> dict[int, tuple[Verdicts, NDArray[np.int64]]]:
    """Give each vantage's verdicts of all kinds, and their things as `lines.judge` takes them."""
    whole = np.concatenate([windows[kind] for kind in KINDS])
    things = np.concatenate([_numbers(windows[kind], watched, kind) for kind in KINDS])
    order = np.argsort(whole["probe"], kind="stable")
    whole, things = whole[order], things[order]
    probes, starts = np.unique(whole["probe"], return_index=True)
    ends = [*starts[1:].tolist(), len(whole)]
    return {
        probe: (whole[start:end], things[start:end])
        for probe, start, end in zip(probes.tolist(), starts.tolist(), ends, strict=False)
        if probe in watched.vantages
    }


def _numbers(verdicts: Verdicts, watched: Watched, kind: Kind) -> NDArray[np.int64]:
    things = watched.things(kind)
    distinct, inverse = np.unique(verdicts["object"], return_inverse=True)
    each = [
        (one * 2 + KINDS.index(kind)) << 32 | (things[one].owner if one in things else 0)
        for one in distinct.tolist()
    ]
    return np.array(each, np.int64)[inverse] if each else np.zeros(0, np.int64)


def _spoilt(verdicts: Verdicts, probe: int, gap: Gap) -> NDArray[np.bool_]:
    out: NDArray[np.bool_] = (verdicts["probe"] == probe) & (verdicts["ok"] == 0)
    return out & (verdicts["at_us"] > gap.start) & (verdicts["at_us"] < gap.end)
