"""One turn: from what is remembered to what is decided. **Pure**: what must be written is given back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from attrs import define, evolve, field, frozen

from sonde_collector.health import certificates, failover, provider_faults, tell, vantage_faults
from sonde_collector.health.certificates import Certificate
from sonde_collector.health.entries import Verdicts
from sonde_collector.health.holds import Begins, Hold
from sonde_collector.health.kept import Kept, Key, Moved
from sonde_collector.health.lines import Line
from sonde_collector.health.picture import Picture, hear, newest, picture
from sonde_collector.health.states import UNKNOWN, Standing, State, advance, as_json, judge
from sonde_collector.health.tell import Event
from sonde_collector.health.watched import KINDS, Group, Kind, Thing, Watched
from sonde_collector.health.words import WELL, Said, Spoken, together

_CHECKED_S = 30.0  # a state that stays is written so often, to say that it was looked at


@define
class Decided:
    """What must be written."""

    lines: dict[int, Line]
    begins: list[Begins]
    ends: list[Hold]
    held: list[Verdicts]
    events: list[Event]
    states: dict[Key, Kept] = field(factory=dict)
    gone: list[Key] = field(factory=list)
    changes: list[Moved] = field(factory=list)


@frozen(eq=False)
class Remembered:
    """What a turn begins with.

    Attributes:
        windows: folded verdicts by kind.
        new: of them those that came since the last turn.
        states: as they were.
        certificates: by target id; None = nobody looked this time.
    """

    windows: Mapping[Kind, Verdicts]
    new: Mapping[Kind, Verdicts]
    states: Mapping[Key, Kept]
    certificates: Mapping[int, Sequence[Certificate]] | None


def decide(watched: Watched, known: Remembered, now: float) -> Decided:
    """Give what follows from all that is known.

    Args:
        watched: the inventory.
        known: what is remembered of it.
        now: by the database's clock. [s since 1970]
    """
    cleared = vantage_faults.clear(watched, known.windows, known.new, now)
    fit = [one for one in watched.vantages if one not in cleared.unfit]
    holding = provider_faults.look(watched, cleared.windows, known.new["server"], fit, now)
    out = Decided(cleared.lines, holding.begins, holding.ends, holding.rows, list(holding.events))
    counted = {**cleared.windows, "server": holding.without(cleared.windows["server"], watched)}
    turn = _Turn(watched, known, now, out, cleared.unfit)
    able = np.array(fit, np.int64)
    for kind in KINDS:
        things = watched.things(kind)
        seen = picture(counted[kind], {one.id: one.settings for one in things.values()}, now)
        heard, measured = hear(seen, able), newest(seen, able)
        for thing in things.values():
            turn.judge(
                thing, heard.get(thing.id, {}), measured.get(thing.id), held=holding.keeps(thing.provider)
            )
        if kind == "target":
            for group in watched.groups:
                turn.choose(group, seen)
    turn.forget()
    return out


@frozen
class _Turn:
    """What all judgements of a turn share; they add to what is decided."""

    watched: Watched
    known: Remembered
    now: float
    out: Decided
    unfit: Mapping[int, str]
    well: dict[tuple[Any, ...], tuple[Said, Mapping[str, Any]]] = field(factory=dict)

    def judge(
        self, thing: Thing, heard: Mapping[int, Mapping[int, Spoken]], measured: float | None, *, held: bool
    ) -> None:
        """Judge a server or target.

        Args:
            thing: which.
            heard: what each series of each fit vantage says.
            measured: when a fit vantage last did; None = never.
            held: it keeps its state.
        """
        before = self.known.states.get((thing.kind, thing.key))
        said: dict[str, Said] = {}
        shown: dict[str, Mapping[str, Any]] = {}
        for probe, series in heard.items():
            code = self.watched.vantages[probe].code
            said[code], shown[code] = self._said(thing, series)
        standing = before.standing if before else None
        change = None
        if held:
            standing = standing or Standing(since=self.now, seen_since=self.now)
        else:
            seen = judge(said, self._unfit(), thing.settings)
            standing, change = advance(standing, seen, self.now, thing.settings)
        if change is not None:
            self.out.changes.append(Moved(thing.kind, thing.key, change, {"vantages": list(change.vantages)}))
            if change.tell:
                self.out.events.append(tell.changed(thing.kind, thing.key, change, self.now))
        data = {**as_json(standing), "vantages": shown, **self._certificate(thing, before)}
        checked = measured or (before.checked_at if before else self.now)
        self._keep((thing.kind, thing.key), before, Kept(standing, checked, held, data))

    def _said(self, thing: Thing, series: Mapping[int, Spoken]) -> tuple[Said, Mapping[str, Any]]:
        """Give what a vantage says, and that as it is kept; of a fleet that is well it is made once."""
        well = all(spoken is WELL for spoken in series.values())
        key = (thing.kind, thing.id if thing.split else 0, *series)
        if well and key in self.well:
            return self.well[key]
        said = together({thing.label(one, self.watched.protocols): spoken for one, spoken in series.items()})
        made = said, {"says": said.word, "by": said.series}
        if well:
            self.well[key] = made
        return made

    def _unfit(self) -> dict[str, str]:
        return {self.watched.vantages[one].code: why for one, why in self.unfit.items()}

    def _certificate(self, thing: Thing, before: Kept | None) -> dict[str, Any]:
        told = before.data.get("certificate") if before else None
        if thing.kind == "target" and self.known.certificates is not None:
            found = self.known.certificates.get(thing.id, ())
            told, notice = certificates.look(found, told, thing.settings.cert_days, self.now)
            if notice is not None:
                self.out.events.append(tell.certificate(thing.key, notice, self.now))
        return {"certificate": told} if told else {}

    def choose(self, group: Group, seen: Picture) -> None:
        """Choose the active member of a group, once its members are judged."""
        codes = {one.id: one.code for one in self.watched.vantages.values() if one.id not in self.unfit}
        targets = {one.key: one for one in self.watched.targets.values()}
        states: dict[str, State] = {}
        for key in group.members:
            kept = self.out.states.get(("target", key)) or self.known.states.get(("target", key))
            if key not in targets or kept is None:
                states[key] = UNKNOWN
            else:
                own = kept.standing.state
                states[key] = failover.member_state(targets[key], own, group, seen, codes)
        name = (failover.OBJECT, group.key)
        before = self.known.states.get(name)
        chosen = failover.choose(group, states, before, self.now)
        if chosen.moved is not None:
            self.out.changes.append(chosen.moved)
        if chosen.event is not None:
            self.out.events.append(chosen.event)
        self._keep(name, before, chosen.kept)

    def _keep(self, key: Key, before: Kept | None, after: Kept) -> None:
        same = before is not None and evolve(before, checked_at=after.checked_at) == after
        if not same or before is None or after.checked_at - before.checked_at >= _CHECKED_S:
            self.out.states[key] = after

    def forget(self) -> None:
        """Drop the states of what is no longer watched; what was told of it ends."""
        watched: set[Key] = {(kind, one.key) for kind in KINDS for one in self.watched.things(kind).values()}
        watched |= {(failover.OBJECT, group.key) for group in self.watched.groups}
        for (kind, key), kept in self.known.states.items():
            if (kind, key) in watched:
                continue
            self.out.gone.append((kind, key))
            if kept.standing.told in ("DEGRADED", "UNHEALTHY"):
                self.out.events.append(tell.gone(kind, key, kept.standing.state, self.now))
