"""Delivery through real servers: faults, retries, signatures, one slow channel, kill -9."""

import datetime as dt
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.notices import channel, dispatcher, event, states
from support.programs import Program, eventually
from support.receivers import Answer, Got, Webhook

from sonde_collector.inventory.model import Notify
from sonde_collector.notify.event import Event, Notice
from sonde_collector.notify.send import send

pytestmark = pytest.mark.postgres
WAIT_S = 60.0
NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A migrated database."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        yield conn


@pytest.fixture
def program(database_url: str, tmp_path: Path) -> Iterator[Program]:
    """The dispatching program, not started yet."""
    made = dispatcher(database_url, tmp_path / "log")
    yield made
    made.kill()
    assert "Traceback" not in made.tail(100_000)


def _all(conn: psycopg.Connection, key: str, state: str, count: int = 1) -> bool:
    """Whether so many deliveries or more are there, all in this state."""
    found = states(conn, key)
    return len(found) >= count and {each for _, each in found} == {state}


def _ids(got: list[Got]) -> list[int]:
    return [json.loads(one.body)["id"] for one in got]


def test_a_message_is_signed_and_names_its_event(
    conn: psycopg.Connection, program: Program, tmp_path: Path
) -> None:
    """Openssl finds the signature that the message carries, and the event's id is in header and body."""
    (tmp_path / "secret").write_text("top secret\n")
    (tmp_path / "token").write_text("bearer-token")
    with Webhook() as hook:
        channel(
            conn,
            "ops",
            url=f"{hook.url}/in?x=1",
            secret_file=str(tmp_path / "secret"),
            token_file=str(tmp_path / "token"),
        )
        program.start()
        number = event(conn, detail="Ümläut ✓", data={"object": "server", "to": "UNHEALTHY"})
        eventually(lambda: _all(conn, "ops", "sent"), WAIT_S, program.tail)
        (got,) = hook.got
    (database,) = conn.execute("SELECT id::text FROM sonde.database").fetchone() or ("",)
    assert (got.method, got.path) == ("POST", "/in?x=1")
    assert got.headers["idempotency-key"] == f"{database}/{number}"
    assert got.headers["authorization"] == "Bearer bearer-token"
    assert got.headers["content-type"] == "application/json"
    said = json.loads(got.body)
    assert (said["id"], said["database"], said["status"]) == (number, database, "firing")
    assert (said["object"], said["detail"]) == ("server", "Ümläut ✓")
    signed = tmp_path / "signed"
    signed.write_bytes(got.headers["sonde-timestamp"].encode() + b"." + got.body)
    done = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", "top secret", "-r", str(signed)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert got.headers["sonde-signature"] == f"v1={done.stdout.split()[0]}"


def test_what_fails_for_a_while_is_tried_until_it_is_taken(
    conn: psycopg.Connection, program: Program
) -> None:
    """A 500, a reset, a 429 that asks for two seconds: the message comes in the end, always under one id."""
    faults = [
        Answer(500, {"Retry-After": "1"}),
        Answer(reset=True),
        Answer(429, {"Retry-After": "2"}),
        Answer(503, {"Retry-After": "soon"}, b'{"retry_after": 0.1}'),
    ]
    with Webhook(lambda _, before: faults[len(before)] if len(before) < len(faults) else Answer()) as hook:
        channel(conn, "ops", url=hook.url)
        program.start()
        event(conn)
        eventually(lambda: _all(conn, "ops", "sent"), WAIT_S, program.tail)
        assert len({one.headers["idempotency-key"] for one in hook.got}) == 1
        assert len(hook.got) == 5
        assert hook.got[3].at - hook.got[2].at >= 2.0
    assert conn.execute("SELECT attempts, last_error FROM sonde.deliveries").fetchall() == [(5, None)]
    assert program.tail(100_000).count("channel_fails") == 1
    assert hook.url not in program.tail(100_000)


def test_a_refusal_gives_up_and_another_channel_tells(conn: psycopg.Connection, program: Program) -> None:
    """A 404 ends the message at once; the others hear that the channel fails, and once more when it works."""
    broken = [True]
    with (
        Webhook(lambda *_: Answer(404, body=b"no such hook") if broken else Answer()) as bad,
        Webhook() as good,
    ):
        channel(conn, "bad", url=bad.url)
        channel(conn, "good", url=good.url)
        program.start()
        first = event(conn)
        eventually(lambda: _all(conn, "good", "sent") and len(good.got) == 2, WAIT_S, program.tail)
        assert dict(states(conn, "bad"))[first] == "failed"
        error = conn.execute("SELECT last_error FROM sonde.notify_channels WHERE key = 'bad'").fetchone()
        assert error == ("404 no such hook",)
        told = json.loads(good.got[1].body)
        assert (told["kind"], told["subject"], told["status"]) == ("notify_failed", "bad", "firing")
        broken.clear()
        event(conn, subject="s2")
        eventually(lambda: len(good.got) == 4, WAIT_S, program.tail)
        said = [json.loads(got.body) for got in good.got]
        assert [one["status"] for one in said if one["kind"] == "notify_works"] == ["resolved"]


def test_a_slow_channel_delays_no_other(conn: psycopg.Connection, program: Program) -> None:
    """While one receiver lets every message wait, another gets all of its own."""
    with Webhook(lambda *_: Answer(after_s=600)) as slow, Webhook() as fast:
        channel(conn, "slow", url=slow.url, timeout=120.0)
        channel(conn, "fast", url=fast.url)
        program.start()
        for i in range(20):
            event(conn, subject=f"s{i}")
        eventually(lambda: _all(conn, "fast", "sent", 20), WAIT_S, program.tail)
        assert len(fast.got) == 20
        eventually(lambda: len(slow.got) == 1, WAIT_S, program.tail)
        assert {state for _, state in states(conn, "slow")} == {"waiting"}


async def test_no_secret_leaves_by_a_redirect_or_an_error(tmp_path: Path) -> None:
    """A redirect is not followed, an endless answer is cut, and no error shows what the files hold."""
    secrets = {"url": "path-secret", "token": "token-secret"}
    notice = Notice(Event(1, NOW, "kind", "subject", "detail", "warning"))
    with Webhook() as elsewhere:
        answers = [
            Answer(307, {"Location": f"{elsewhere.url}/steal"}, b"go to path-secret with token-secret"),
            Answer(400, body=b"path-secret token-secret"),
            Answer(200, endless=True),
            Answer(500, endless=True),
        ]
        with Webhook(lambda _, before: answers[len(before)]) as hook:
            (tmp_path / "url").write_text(f"{hook.url}/{secrets['url']}/")
            (tmp_path / "token").write_text(secrets["token"])
            channel = Notify(
                key="ops",
                kind="json",
                url_file=str(tmp_path / "url"),
                token_file=str(tmp_path / "token"),
            )
            outcomes = [await send(channel, [notice], "db") for _ in answers]
        outcomes.append(await send(channel, [notice], "db"))
        (tmp_path / "url").write_text("no url token-secret")
        outcomes.append(await send(channel, [notice], "db"))
        (tmp_path / "token").unlink()
        outcomes.append(await send(channel, [notice], "db"))
        assert elsewhere.got == []
    assert [one.action for one in outcomes] == [
        "give_up", "give_up", "sent", "retry", "retry", "give_up", "retry",
    ]  # fmt: skip
    said = " ".join(one.said for one in outcomes)
    assert "redirect" in outcomes[0].said
    assert "127.0.0.1" not in said
    assert not [secret for secret in secrets.values() if secret in said]


def test_what_comes_within_the_interval_goes_together(conn: psycopg.Connection, program: Program) -> None:
    """A chat channel with a min_interval gets one message for the first, and one for all that came then."""
    with Webhook() as hook:
        channel(conn, "chat", "ntfy", url=f"{hook.url}/topic", min_interval=3.0)
        event(conn, subject="first")
        program.start()
        eventually(lambda: len(hook.got) == 1, WAIT_S, program.tail)
        for i in range(5):
            event(conn, subject=f"s{i}")
        eventually(lambda: _all(conn, "chat", "sent", 6), WAIT_S, program.tail)
        assert len(hook.got) == 2
        assert json.loads(hook.got[1].body)["title"] == "5 notices: 5 warning"
        assert hook.got[1].at - hook.got[0].at >= 3.0


def test_alertmanager_is_told_again_until_the_end(conn: psycopg.Connection, program: Program) -> None:
    """What goes on is re-sent under the same labels and start; its end has an endsAt, and then it rests."""
    with Webhook() as hook:
        channel(conn, "am", "alertmanager", url=f"{hook.url}/base/", repeat=1.0)
        program.start()
        event(conn, severity="critical", data={"object": "server"})
        eventually(lambda: len(hook.got) >= 3, WAIT_S, program.tail)
        end = event(conn, severity="info", resolved=True, data={"object": "server"})
        eventually(lambda: dict(states(conn, "am")).get(end) == "sent", WAIT_S, program.tail)
        got = list(hook.got)
    assert {one.path for one in got} == {"/base/api/v2/alerts"}
    alerts = [alert for one in got for alert in json.loads(one.body)]
    assert len({json.dumps(each["labels"], sort_keys=True) for each in alerts}) == 1
    assert len({each["startsAt"] for each in alerts}) == 1
    assert [("endsAt" in each) for each in alerts] == [False] * (len(alerts) - 1) + [True]


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_killed_at_any_moment_nothing_is_lost(
    conn: psycopg.Connection, program: Program, database_url: str, tmp_path: Path
) -> None:
    """Ten rounds of kill -9 while two programs deliver: every event arrives, doubles only under one id."""
    seed = int(os.environ.get("SONDE_FAULT_SEED") or random.randrange(1 << 32))
    sys.stdout.write(f"SONDE_FAULT_SEED={seed} replays this\n")
    rng = random.Random(seed)
    second = dispatcher(database_url, tmp_path / "log2")
    told: list[int] = []
    faults = random.Random(seed + 1)

    def answer(_: Got, __: list[Got]) -> Answer:
        return Answer(503 if faults.random() < 0.1 else 200, after_s=faults.random() / 20)

    with Webhook(answer) as hook:
        channel(conn, "ops", url=hook.url)
        for round_ in range(10):
            program.start()
            if round_ % 4 == 1 and not second.running:
                second.start()
            before = len(hook.got)
            told += [event(conn, subject=f"r{round_}-{i}") for i in range(rng.randint(5, 15))]
            wanted = before + rng.randint(1, 5)
            eventually(lambda n=wanted: len(hook.got) >= n, WAIT_S, program.tail)
            program.kill()
            if rng.random() < 0.5:
                second.kill()
        second.kill()
        program.start()
        eventually(lambda: _all(conn, "ops", "sent", len(told)), WAIT_S, program.tail)
        got = list(hook.got)
    assert [number for number, _ in states(conn, "ops")] == told
    assert set(_ids(got)) == set(told)
    assert all(one.headers["idempotency-key"].endswith(f"/{json.loads(one.body)['id']}") for one in got)
