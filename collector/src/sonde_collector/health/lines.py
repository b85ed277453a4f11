"""When a vantage's own line was down: nothing that it measures succeeds, what was well fails too. **Pure.**

A stretch without any success counts as its own fault if things of independent owners that were well begin to
fail in it together, and other vantages do not see the same. What failed in such a stretch says nothing about
any target.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from sonde_collector.health.entries import Verdicts

_NOW = (1 << 62) - 1
_LEAST_US = 1_000_000
_KEPT_US = 6 * 3_600_000_000
_MOST_GAPS = 200
_NEEDED = 3  # things that fail together; of a vantage that measures only two, both
_OWNERS = 2
_ALL = 0.9


@frozen
class Gap:
    """A stretch between two successes of a vantage. [us since 1970]"""

    start: int
    end: int
    ours: bool = False


@frozen
class Line:
    """What is known of a vantage's line.

    Attributes:
        last_ok: its newest success; None = it never had one.
        gaps: closed stretches without a success, oldest first.
    """

    last_ok: int | None = None
    gaps: tuple[Gap, ...] = ()


def notice(line: Line, successes: Iterable[int]) -> Line:
    """Give the line after further successes, in whatever order they come."""
    last, gaps = line.last_ok, list(line.gaps)
    for at in sorted(successes):
        if last is None or at > last:
            if last is not None and at - last >= _LEAST_US:
                gaps.append(Gap(last, at))
            last = at
            continue
        for i, gap in enumerate(gaps):
            if gap.start < at < gap.end:
                gaps[i : i + 1] = [evolve(gap, end=at), evolve(gap, start=at)]
                break
    oldest = (last or 0) - _KEPT_US
    kept = [gap for gap in gaps if gap.end >= oldest and gap.end - gap.start >= _LEAST_US]
    return Line(last, tuple(kept[-_MOST_GAPS:]))


def judge(
    lines: Mapping[int, Line], seen: Mapping[int, tuple[Verdicts, NDArray[np.int64]]]
) -> dict[int, tuple[Line, Sequence[Gap]]]:
    """Give each vantage's line with what it keeps of its gaps, and all stretches in which it was down.

    Args:
        lines: by vantage.
        seen: by vantage, its remembered verdicts, and per verdict `thing << 32 | owner`: numbers of the thing
            and of its owner, as things of one owner may fail together.
    """
    suspected: dict[int, list[Gap]] = {}
    judging = 0
    for probe, (verdicts, things) in seen.items():
        judging += 1
        line = lines.get(probe, Line())
        open_gap = Gap(line.last_ok or 0, _NOW)
        suspected[probe] = [
            gap for gap in (*line.gaps, open_gap) if gap.ours or _all_fail(gap, verdicts, things)
        ]
    out: dict[int, tuple[Line, Sequence[Gap]]] = {}
    for probe, line in lines.items():
        mine = [
            evolve(gap, ours=True)
            for gap in suspected.get(probe, ())
            if gap.ours or _alone(gap, probe, suspected, judging)
        ]
        closed = tuple(gap for gap in mine if gap.end != _NOW)
        starts = {gap.start for gap in closed}
        fails = _failing_times(seen.get(probe))
        rest = tuple(gap for gap in line.gaps if gap.start not in starts and _matters(gap, fails))
        gaps = tuple(sorted((*closed, *rest), key=lambda gap: gap.start))
        out[probe] = (Line(line.last_ok, gaps), mine)
    return out


def _alone(gap: Gap, probe: int, suspected: Mapping[int, Sequence[Gap]], judging: int) -> bool:
    """Whether most other vantages do not see the same: else it is the world that fails."""
    same = 1 + sum(
        any(one.start < gap.end and gap.start < one.end for one in gaps)
        for other, gaps in suspected.items()
        if other != probe
    )
    return judging == 1 or same * 2 <= judging


def _all_fail(gap: Gap, verdicts: Verdicts, things: NDArray[np.int64]) -> bool:
    known = np.unique(things)
    needed = min(_NEEDED, len(known))
    inside = (verdicts["at_us"] > gap.start) & (verdicts["at_us"] < gap.end) & (verdicts["ok"] == 0)
    failed = np.unique(things[inside])
    if len(failed) < max(needed, _OWNERS) or _owners(failed) < _OWNERS:
        return False
    if len(failed) >= _ALL * len(known):
        return True
    # Those whose last word before was a success: what was dead already proves nothing.
    before = verdicts["at_us"] <= gap.start
    order = np.argsort(verdicts["at_us"][before], kind="stable")
    last = dict(zip(things[before][order].tolist(), verdicts["ok"][before][order].tolist(), strict=True))
    newly = np.array([thing for thing in failed.tolist() if last.get(thing) == 1], np.int64)
    return len(newly) >= needed and _owners(newly) >= _OWNERS


def _owners(things: NDArray[np.int64]) -> int:
    return len(np.unique(things & 0xFFFF_FFFF))


def _failing_times(seen: tuple[Verdicts, NDArray[np.int64]] | None) -> NDArray[np.int64]:
    if seen is None:
        return np.zeros(0, np.int64)
    verdicts = seen[0]
    times: NDArray[np.int64] = np.sort(verdicts["at_us"][verdicts["ok"] == 0])
    return times


def _matters(gap: Gap, fails: NDArray[np.int64]) -> bool:
    return bool(np.searchsorted(fails, gap.end) - np.searchsorted(fails, gap.start, "right") >= _OWNERS)
