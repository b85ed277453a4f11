"""The state machine: what the vantages say together, and when that is a change to tell. **Pure.**

HEALTHY, DEGRADED, UNHEALTHY, UNKNOWN. Too few vantages that fail it, a slow or unsteady one: DEGRADED. Nobody
fit to judge: UNKNOWN, never UNHEALTHY. Changes that come too often are flapping: DEGRADED until they rest,
told once.
"""

from collections.abc import Mapping
from typing import Any, Literal

from attrs import evolve, frozen

from sonde_collector.health.settings import Settings
from sonde_collector.health.words import Said, Word
from sonde_proto.units import format_duration

State = Literal["HEALTHY", "DEGRADED", "UNHEALTHY", "UNKNOWN"]
HEALTHY: State = "HEALTHY"
DEGRADED: State = "DEGRADED"
UNHEALTHY: State = "UNHEALTHY"
UNKNOWN: State = "UNKNOWN"
PAUSED = "is paused"
"""Why a vantage is not asked, among the reasons of those that are not fit."""
SEVERITY: Mapping[State, str] = {HEALTHY: "info", UNKNOWN: "info", DEGRADED: "warning", UNHEALTHY: "critical"}
_SHOWN = 3


@frozen
class Seen:
    """What is seen of an object at one moment.

    Attributes:
        state: by quorum.
        reason: in words; "" where there is nothing to say.
        vantages: those that say it is not well.
        quiet: nobody needs to hear of it: it is as an operator wants it.
    """

    state: State
    reason: str
    vantages: tuple[str, ...] = ()
    quiet: bool = False


@frozen
class Standing:
    """What is carried from turn to turn. Times in seconds since 1970.

    Attributes:
        state: as others read it.
        since: when it came into it.
        reason: why.
        flapping: it changes too often; told as DEGRADED.
        told: the last state that people know of; UNKNOWN before it was ever judged tells nobody anything.
        seen: what was seen last, whatever is told.
        seen_since: since when.
        moves: when that changed, within the flap window.
    """

    state: State = UNKNOWN
    since: float = 0.0
    reason: str = ""
    flapping: bool = False
    told: State = HEALTHY
    seen: State = UNKNOWN
    seen_since: float = 0.0
    moves: tuple[float, ...] = ()


@frozen
class Change:
    """A change of state.

    Attributes:
        tell: people should hear of it.
    """

    before: State
    after: State
    reason: str
    flapping: bool
    vantages: tuple[str, ...]
    tell: bool = True


def judge(said: Mapping[str, Said], unfit: Mapping[str, str], settings: Settings) -> Seen:
    """Give what the vantages say together.

    Args:
        said: by vantage, of those that are fit to judge and have measured it lately.
        unfit: why the others do not count, by vantage.
        settings: how many it takes.
    """
    if not said:
        why = ", ".join(f"{vantage} {reason}" for vantage, reason in sorted(unfit.items())[:_SHOWN])
        words = f"no vantage that is fit to judge has measured it lately{why and f' ({why})'}"
        return Seen(UNKNOWN, words, quiet=PAUSED in unfit.values())
    failing = sorted(vantage for vantage, one in said.items() if one.word is Word.FAILING)
    needed = settings.needed(len(said))
    if failing and len(failing) >= needed:
        return Seen(UNHEALTHY, _failing(failing, said), tuple(failing))
    worse = sorted(vantage for vantage, one in said.items() if one.word is not Word.WELL)
    if failing:
        return Seen(DEGRADED, f"{_failing(failing, said)}; {needed} needed to call it down", tuple(worse))
    if worse:
        words = ", ".join(f"{said[vantage].word} from {vantage}" for vantage in worse[:_SHOWN])
        more = f" and {len(worse) - _SHOWN} more" if len(worse) > _SHOWN else ""
        return Seen(DEGRADED, f"{words}{more}", tuple(worse))
    return Seen(HEALTHY, "")


def _failing(failing: list[str], said: Mapping[str, Said]) -> str:
    names = ", ".join(failing[:_SHOWN]) + (" …" if len(failing) > _SHOWN else "")
    failures = ", ".join(sorted({said[vantage].failure for vantage in failing} - {""}))
    why = f": {failures}" if failures else ""
    return f"fails from {len(failing)} of {len(said)} vantages ({names}){why}"


def advance(
    before: Standing | None, seen: Seen, now: float, settings: Settings
) -> tuple[Standing, Change | None]:
    """Give how it stands now, and the change, if it is one. The same again changes nothing.

    Args:
        before: None = never judged.
        seen: now.
        now: [s since 1970].
        settings: what is flapping.
    """
    old = before or Standing(since=now, seen_since=now)
    moved = seen.state != old.seen
    moves = tuple(at for at in old.moves if at > now - settings.flap_window)
    if moved and UNKNOWN not in (seen.state, old.seen):
        moves = (*moves, now)
    seen_since = now if moved else old.seen_since
    flapping = _flaps(old, seen, moves, now - seen_since, settings)
    if old.flapping and not flapping:
        moves = ()
    state, reason = seen.state, seen.reason
    if flapping:
        state = DEGRADED
        window = format_duration(settings.flap_window)
        reason = f"flapping: {settings.flap_changes} changes or more within {window}"
    changed = state != old.state
    # What comes back as it was last told needs no word; coming to be known as HEALTHY neither; nor what an
    # operator's pause leaves unknown.
    news = changed and not seen.quiet and not (old.state == UNKNOWN and state == old.told)
    tell = news or (flapping and not old.flapping)
    new = Standing(
        state,
        now if changed else old.since,
        reason,
        flapping,
        state if tell else old.told,
        seen.state,
        seen_since,
        moves,
    )
    if not changed and not tell:
        return new, None
    return new, Change(old.state, state, reason, flapping, seen.vantages, tell)


def _flaps(old: Standing, seen: Seen, moves: tuple[float, ...], rested: float, settings: Settings) -> bool:
    if seen.state == UNKNOWN:
        return False
    if old.flapping:
        return rested < settings.flap_rest
    return len(moves) >= settings.flap_changes


def as_json(standing: Standing) -> dict[str, Any]:
    """Give what of it is kept besides the columns of its own."""
    return {
        "told": standing.told,
        "seen": standing.seen,
        "seen_since": standing.seen_since,
        "moves": list(standing.moves),
    }


def from_json(standing: Standing, kept: Mapping[str, Any]) -> Standing:
    """Give a standing with what `as_json` kept of it; an origin group keeps nothing."""
    return evolve(
        standing,
        told=kept.get("told", HEALTHY),
        seen=kept.get("seen", standing.state),
        seen_since=kept.get("seen_since", standing.since),
        moves=tuple(kept.get("moves", ())),
    )
