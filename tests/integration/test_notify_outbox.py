"""Planning: each event becomes one delivery a channel, whose state follows from what the channel was told."""

import threading
from collections.abc import Iterator

import psycopg
import pytest
from support.notices import channel, event, states
from support.programs import eventually

from sonde_collector.db.pool import Database
from sonde_collector.notify.outbox import Outbox

pytestmark = pytest.mark.postgres


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        yield conn


@pytest.fixture
def outbox(database_url: str) -> Iterator[Outbox]:
    """The outbox of the one that leads."""
    made = Outbox(Database(database_url))
    yield made
    made.close()


def _due(outbox: Outbox, key: str = "ops") -> list[int]:
    turn = outbox.turn(frozenset())
    assert turn is not None
    return [one.notice.event.id for one in turn.due.get(key, ())]


def _send(outbox: Outbox, key: str = "ops") -> list[int]:
    """Sends all that is due, as if the channel took it."""
    sent = []
    while due := _due(outbox, key):
        outbox.sent(key, due)
        sent += due
    return sent


def test_an_end_goes_to_who_heard_of_the_beginning(conn: psycopg.Connection, outbox: Outbox) -> None:
    """The same again is not told, worse is, and the end only where the beginning was told."""
    channel(conn, "ops", severities=["critical", "warning"])
    channel(conn, "boss", severities=["critical"])
    first = event(conn)
    again = event(conn)
    assert _send(outbox) == [first]
    worse = event(conn, severity="critical")
    assert _send(outbox) == [worse]
    assert _send(outbox, "boss") == [worse]
    end = event(conn, severity="info", resolved=True)
    assert (_send(outbox), _send(outbox, "boss")) == ([end], [end])
    other = event(conn, subject="s2")
    other_end = event(conn, subject="s2", severity="info", resolved=True)
    assert states(conn, "boss")[:3] == [(first, "filtered"), (again, "filtered"), (worse, "sent")]
    assert (_send(outbox), _send(outbox, "boss")) == ([other, other_end], [])
    assert states(conn, "boss")[-2:] == [(other, "filtered"), (other_end, "duplicate")]
    assert conn.execute("SELECT count(*) FROM sonde.told").fetchone() == (0,)


def test_an_end_never_overtakes_its_beginning(conn: psycopg.Connection, outbox: Outbox) -> None:
    """While the beginning is tried again its end waits; other topics do not."""
    channel(conn, "ops")
    first, end, other = event(conn), event(conn, resolved=True), event(conn, subject="s2")
    assert _due(outbox) == [first, other]
    outbox.unsent("ops", [first], "503", 3600.0)
    assert _due(outbox) == [other]
    conn.execute("UPDATE sonde.deliveries SET next_at = now()")
    assert sorted(_send(outbox)) == [first, end, other]


def test_a_channel_without_ends_hears_each_beginning(conn: psycopg.Connection, outbox: Outbox) -> None:
    """With resolved = false ends are filtered, and what begins anew is told anew."""
    channel(conn, "ops", resolved=False)
    first, end, second = event(conn), event(conn, resolved=True), event(conn)
    assert _send(outbox) == [first, second]
    assert states(conn, "ops") == [(first, "sent"), (end, "filtered"), (second, "sent")]
    event(conn, resolved=True)
    assert _send(outbox) == []
    third = event(conn)
    assert _send(outbox) == [third]


def test_filters_are_globs_and_all_must_match(conn: psycopg.Connection, outbox: Outbox) -> None:
    """Kinds and subjects are globs; what does not match is recorded as filtered."""
    channel(conn, "ops", kinds=["agent_*", "health_*"], subjects=["acme-[ab]*"])
    good = event(conn, "agent_silent", "acme-ams")
    wrong = [event(conn, "agent_silent", "acme-cph"), event(conn, "disk_low", "acme-ams")]
    assert _send(outbox) == [good]
    assert states(conn, "ops")[1:] == [(each, "filtered") for each in wrong]


def test_no_event_is_skipped_when_ids_commit_out_of_order(
    database_url: str, conn: psycopg.Connection, outbox: Outbox
) -> None:
    """An event whose id is lower and whose commit is later is told, like one that is rolled back is not."""
    channel(conn, "ops")
    with psycopg.connect(database_url) as slow, psycopg.connect(database_url) as gone:
        late = event(slow, subject="late")
        event(gone, subject="gone")
        early = event(conn, subject="early")
        assert late < early
        assert _send(outbox) == [early]
        gone.rollback()
        slow.commit()
        assert _send(outbox) == [late]
    assert [state for _, state in states(conn, "ops")] == ["sent", "sent"]


def test_what_was_before_a_channel_is_not_told_to_it(conn: psycopg.Connection, outbox: Outbox) -> None:
    """A new channel hears of what happens from then on, and a channel that left hears nothing late."""
    old = event(conn)
    assert _send(outbox) == []
    channel(conn, "ops")
    new = event(conn, subject="s2")
    assert _send(outbox) == [new]
    assert (old, "waiting") not in states(conn, "ops")


def test_a_silenced_event_is_told_when_the_silence_ends_if_it_still_goes_on(
    conn: psycopg.Connection, outbox: Outbox
) -> None:
    """Of two silenced troubles the one that is over is never told, and the other is, once."""
    channel(conn, "ops")
    conn.execute(
        "INSERT INTO sonde.silences (subjects, until_at, reason) VALUES ('{s?}', now() + interval '1 h', 'r')"
    )
    over, lasts, free = event(conn, subject="s1"), event(conn, subject="s2"), event(conn, subject="x1")
    once = event(conn, "note", "s3", topic=None)
    end = event(conn, subject="s1", resolved=True)
    assert _send(outbox) == [free]
    assert dict(states(conn, "ops")) == {
        over: "silenced", lasts: "silenced", free: "sent", once: "silenced", end: "duplicate",
    }  # fmt: skip
    named = conn.execute("SELECT DISTINCT silenced_by FROM sonde.deliveries WHERE state = 'silenced'")
    assert named.fetchall() == [("silence 1",)]
    conn.execute("UPDATE sonde.silences SET until_at = clock_timestamp()")
    assert _send(outbox) == [lasts]
    assert _send(outbox) == []


def test_an_end_within_a_silence_is_told_after_it(conn: psycopg.Connection, outbox: Outbox) -> None:
    """Who heard of the beginning before the silence hears of the end after it."""
    channel(conn, "ops")
    first = event(conn)
    assert _send(outbox) == [first]
    conn.execute(
        "INSERT INTO sonde.silences (kinds, until_at, reason)"
        " VALUES ('{health_*}', now() + interval '1 h', 'r')"
    )
    end = event(conn, resolved=True)
    assert _send(outbox) == []
    conn.execute("UPDATE sonde.silences SET until_at = clock_timestamp()")
    assert _send(outbox) == [end]


def test_a_maintenance_window_silences_what_it_names(conn: psycopg.Connection, outbox: Outbox) -> None:
    """Of servers named, events of servers; of a vantage named, its agent's; others are told."""
    channel(conn, "ops")
    conn.execute(
        "INSERT INTO sonde.maintenance_windows (servers, vantages, from_at, until_at, reason) VALUES"
        " ('{acme-*}', NULL, now() - interval '1 h', now() + interval '1 h', 'r'),"
        " (NULL, '{ams1}', now() - interval '1 h', now() + interval '1 h', 'r')"
    )
    silenced = [
        event(conn, subject="acme-1", data={"object": "server"}),
        event(conn, "agent_silent", "ams1"),
    ]
    told = [
        event(conn, subject="acme-1", topic="t", data={"object": "target"}),
        event(conn, subject="other", data={"object": "server"}),
        event(conn, "agent_silent", "lon1"),
    ]
    assert _send(outbox) == told
    assert [each for each, state in states(conn, "ops") if state == "silenced"] == silenced


def test_one_leads_and_the_next_takes_over(database_url: str, outbox: Outbox) -> None:
    """While one collector holds the lead others get nothing to do; when it goes, the next one leads."""
    second = Outbox(Database(database_url))
    try:
        assert outbox.turn(frozenset()) is not None
        assert second.turn(frozenset()) is None
        outbox.close()
        eventually(lambda: second.turn(frozenset()), 20, "the lead is free once its connection has ended")
        assert outbox.turn(frozenset()) is None
    finally:
        second.close()


def test_each_event_is_planned_once_whoever_writes(
    database_url: str, conn: psycopg.Connection, outbox: Outbox
) -> None:
    """With four writers beside the planner every event gets exactly one delivery."""
    channel(conn, "ops")

    def write(number: int) -> None:
        with psycopg.connect(database_url) as mine:
            for i in range(50):
                event(mine, subject=f"w{number}-{i}")
                if i % 7 == 0:
                    mine.commit()

    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in writers:
        thread.start()
    sent: list[int] = []
    while any(thread.is_alive() for thread in writers):
        sent += _send(outbox)
    sent += _send(outbox)
    assert len(sent) == len(set(sent)) == 200
    assert conn.execute("SELECT count(*) FROM sonde.deliveries").fetchone() == (200,)
