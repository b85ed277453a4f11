"""What a channel is told adds up: nothing twice, no end without a beginning, and in the end the truth."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.inventory.model import Notify
from sonde_collector.notify.decide import Silence, decide, silenced_by
from sonde_collector.notify.event import Event

NOW = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)


def _event(kind: str = "health_changed", subject: str = "acme-1", **values: Any) -> Event:
    filled: dict[str, Any] = {"severity": "warning", "topic": f"{kind}/{subject}", "detail": ""} | values
    return Event(id=1, at=NOW, kind=kind, subject=subject, **filled)


def _channel(**values: Any) -> Notify:
    return Notify(key="ops", kind="json", **values)


@given(
    st.lists(st.tuples(st.sampled_from(("info", "warning", "critical", "end")), st.booleans()), max_size=30),
    st.sampled_from((None, ("critical",), ("warning", "critical"))),
)
def test_a_channel_ends_up_knowing_the_truth(
    turns: list[tuple[str, bool]], severities: tuple[Any, ...] | None
) -> None:
    """Whatever comes and is silenced, after the last silence the channel was told what goes on."""
    channel = _channel(severities=severities)
    told: Event | None = None
    kept: Event | None = None  # silenced news, the newest of the topic
    said: list[Event] = []
    for word, silenced in turns:
        event = _event(severity="info", resolved=True) if word == "end" else _event(severity=word)
        state = decide(channel, event, told, "silence 1" if silenced else None)
        kept = event if state == "silenced" else None
        if state == "waiting":
            said.append(event)
            told = event
    if kept is not None and decide(channel, kept, told, None) == "waiting":
        said.append(kept)
        told = kept
    for before, after in zip([None, *said], said, strict=False):
        assert before is None or before.says != after.says
        assert not after.resolved or (before is not None and not before.resolved)
    if turns and turns[-1][0] == "end":
        assert told is None or told.resolved
    elif turns and (severities is None or turns[-1][0] in severities):
        assert told is not None
        assert told.severity == turns[-1][0]


@pytest.mark.parametrize(
    ("silence", "event", "covered"),
    [
        (Silence("s", subjects=["acme-*"]), _event(), True),
        (Silence("s", subjects=["other"]), _event(), False),
        (Silence("s", kinds=["health_*"], subjects=["acme-?"]), _event(), True),
        (Silence("s", kinds=["agent_*"], subjects=["acme-?"]), _event(), False),
        (Silence("s", objects=["server"]), _event(data={"object": "server"}), True),
        (Silence("s", objects=["vantage"]), _event("agent_clock", "ams1"), True),
        (Silence("s", vantages=["ams*"]), _event("agent_clock", "ams1"), True),
        (Silence("s", vantages=["ams*"]), _event(), False),
        (Silence("m", servers=["acme-*"]), _event(data={"object": "server"}), True),
        (Silence("m", servers=["acme-*"]), _event(data={"object": "target"}), False),
        (Silence("m", servers=["acme-*"], targets=["acme-1"]), _event(data={"object": "target"}), True),
        (Silence("m", servers=["*"]), _event("disk_low", "host"), False),
        (Silence("m", servers=["*"], vantages=["ams1"]), _event(data={"object": "server"}), False),
        (Silence("s", subjects=["*"]), _event("test"), False),
    ],
)
def test_a_silence_covers_what_matches_in_all(silence: Silence, event: Event, *, covered: bool) -> None:
    """All that a silence names must match; a window of servers covers servers only; a test always goes."""
    assert (silenced_by(event, [silence]) == silence.name) is covered


def test_a_channels_own_failure_is_for_the_others() -> None:
    """That a channel fails is not told through it."""
    event = _event("notify_failed", "ops")
    assert decide(_channel(), event, None, None) == "filtered"
    assert decide(Notify(key="other", kind="json"), event, None, None) == "waiting"


def test_alertmanager_hears_of_every_end() -> None:
    """An alert that nobody ends would be re-sent for ever: resolved = false is not for it."""
    end = _event(resolved=True)
    assert decide(_channel(resolved=False), end, _event(), None) == "filtered"
    assert decide(Notify(key="am", kind="alertmanager", resolved=False), end, _event(), None) == "waiting"
