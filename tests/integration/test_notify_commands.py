"""`notify` and `silence`, and the [[notify]] and [[maintenance]] of a fleet file, as a user sees them."""

import base64
import datetime as dt
import json
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from support.builders import inventory
from support.fleet import collector_toml
from support.notices import channel, event
from support.programs import free_port, run
from support.receivers import Answer, Webhook, mailbox, own_certificate

from sonde_collector.cli import main
from sonde_collector.inventory.apply import apply
from sonde_collector.inventory.fleet_file import load_fleet
from sonde_collector.inventory.model import Notify
from sonde_collector.notify.event import Event, Notice
from sonde_collector.notify.send import send

pytestmark = pytest.mark.postgres

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(database_url: str, tmp_path: Path) -> Command:
    """Runs `sonde-collector` on the database."""
    config = tmp_path / "collector.toml"
    config.write_text(collector_toml(database_url, free_port()))

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        done = run("sonde-collector", "--config", str(config), *words)
        assert "Traceback" not in done.stderr
        return done

    return call


def test_a_test_message_goes_through_every_channel(
    database_url: str, command: Command, tmp_path: Path
) -> None:
    """Each channel's answer is shown; one that fails makes the command fail, without its secret."""
    assert command("notify").stdout.startswith("no channel yet")
    assert command("notify", "test").returncode == 1
    token = tmp_path / "token"
    token.write_text("123:secret\n")
    with Webhook() as good, Webhook(lambda *_: Answer(403, body=b"bad 123:secret")) as bad, mailbox() as box:
        with psycopg.connect(database_url, autocommit=True) as conn:
            channel(conn, "bot", "telegram", url=bad.url, token_file=str(token), chat="1")
            channel(conn, "hook", url=good.url)
            channel(
                conn, "mail", "smtp", host="127.0.0.1", port=box.port, tls="none",
                sender="sonde@test.test", to=["ops@test.test"],
            )  # fmt: skip
        done = command("notify", "test")
        assert done.returncode == 1
        assert done.stdout == (
            "bot (telegram): FAILED: 403 bad …\nhook (json): sent: 200 ok\nmail (smtp): sent: accepted\n"
        )
        assert json.loads(good.got[0].body)["kind"] == "test"
        ((sender, to, text),) = box.mails
        assert (sender, to) == ("sonde@test.test", ["ops@test.test"])
        assert "Subject: [sonde] INFO test: mail" in text
        done = command("notify", "test", "hook", "nobody", "--json")
        assert done.returncode == 1
        assert json.loads(done.stdout) == [
            {"channel": "hook", "kind": "json", "ok": True, "answer": "200 ok"}
        ]
        assert done.stderr.startswith('sonde-collector: "nobody" is no channel')
        assert command("notify", "test", "hook").returncode == 0
        keys = [one.headers["idempotency-key"] for one in good.got]
        assert len(set(keys)) == 3


def test_the_list_tells_what_waits(database_url: str, command: Command) -> None:
    """A channel's kind, last success, last error and what waits stand in its row."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        channel(conn, "ops", url="http://127.0.0.1:1/")
        number = event(conn)
        conn.execute(
            "INSERT INTO sonde.deliveries (event_id, channel, state) VALUES (%s, 'ops', 'waiting')", (number,)
        )
        conn.execute("UPDATE sonde.notify_channels SET last_error = '503 busy', last_error_at = now()")
    (row,) = json.loads(command("notify", "ls", "--json").stdout)
    assert (row["key"], row["kind"], row["waiting"], row["last_sent_at"]) == ("ops", "json", 1, None)
    listed = command("notify", "ls").stdout.splitlines()
    assert listed[1].split()[:4] == ["ops", "json", "never", "1"]
    assert listed[1].endswith("503 busy")


async def test_mail_is_private_and_told_apart(tmp_path: Path) -> None:
    """STARTTLS and login are used, an unknown certificate is refused, 4xx is tried again and 5xx given up."""
    cert, key = own_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    (tmp_path / "password").write_text("pw1234")
    notice = Notice(Event(1, dt.datetime.now(dt.UTC), "kind", "s1", "détail", "warning"))
    with mailbox(context) as box:
        ready = Notify(
            key="mail", kind="smtp", host="127.0.0.1", port=box.port, sender="a@b.test", to=("c@d.test",),
            user="me", password_file=str(tmp_path / "password"), ca_file=str(cert),
        )  # fmt: skip
        assert (await send(ready, [notice], "db")).action == "sent"
        assert [base64.b64decode(each) for each in box.logins] == [b"\0me\0pw1234"]
        strangers = Notify(
            key="mail", kind="smtp", host="127.0.0.1", port=box.port, sender="a@b.test", to=("c@d.test",)
        )
        refused = await send(strangers, [notice], "db")
        assert (refused.action, "certificate" in refused.said.lower()) == ("retry", True)
        for said, action in (("451 later", "retry"), ("550 nobody", "give_up")):
            box.rcpt = said
            assert (await send(ready, [notice], "db")).action == action
        assert len(box.mails) == 1
    with mailbox() as plain:
        unsafe = Notify(
            key="mail", kind="smtp", host="127.0.0.1", port=plain.port, sender="a@b.test", to=("c@d.test",),
            user="me", password_file=str(tmp_path / "password"),
        )  # fmt: skip
        assert (await send(unsafe, [notice], "db")).action == "give_up"
        assert plain.logins == []


def test_a_silence_is_added_listed_and_ended(database_url: str, command: Command) -> None:
    """It shows in the list while it is on, and not after it was ended."""
    assert command("silence").stdout == "nothing is silenced\n"
    done = command("silence", "add", "acme-*", "kind=health_*", "--for", "2h", "--reason", "new hosts")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("s1: from ")
    (row,) = json.loads(command("silence", "ls", "--json").stdout)
    assert (row["id"], row["subjects"], row["kinds"]) == ("s1", ["acme-*"], ["health_*"])
    assert "subject=acme-* kind=health_*" in command("silence", "ls").stdout
    later = command(
        "silence", "add", "x", "--from", "2999-01-01T00:00Z", "--until", "2999-01-02T00:00Z", "--reason", "r"
    )
    assert later.stdout == "s2: from 2999-01-01 00:00 until 2999-01-02 00:00 UTC\n"
    assert command("silence", "rm", "s1", "s2").stdout == "s1 is over\ns2 is over\n"
    assert command("silence", "ls").stdout == "nothing is silenced\n"
    again = command("silence", "rm", "s1", "7", "m1")
    assert again.returncode == 1
    assert len(again.stderr.splitlines()) == 3
    with psycopg.connect(database_url) as conn:
        assert conn.execute("SELECT count(*) FROM sonde.silences WHERE until_at > now()").fetchone() == (0,)


def test_a_maintenance_window_says_what_it_covers(database_url: str, command: Command) -> None:
    """It tells how much of the inventory it names; it is ended or made void by its id."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        inventory(conn, servers=("acme-1", "acme-2", "b"), vantages=("ams1", "lon1"))
    add = ("silence", "add", "--maintenance", "--reason", "works")
    done = command(
        *add, "acme-*", "vantage=ams1", "--from", "2026-01-01T00:00Z", "--until", "2999-01-01T00:00Z"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1] == "2 server(s) and 0 target(s), seen from 1 vantage(s)"
    weekly = command(*add, "target=*", "--for", "90m", "--weekly", "--json")
    assert json.loads(weekly.stdout)["targets"] == 1
    listed = command("silence", "ls").stdout
    assert "server=acme-*" in listed
    assert "weekly" in listed
    assert command("silence", "rm", "m1").stdout == "m1 is over\n"
    assert command("silence", "rm", "m2", "--void").stdout == "m2 never was\n"
    with psycopg.connect(database_url) as conn:
        left = conn.execute("SELECT id, ended_at IS NOT NULL FROM sonde.maintenance_windows").fetchall()
        assert left == [(1, True)]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("x", "--for", "2", "--reason", "r"), "--for must be a duration such as"),
        (("x", "--for", "0s", "--reason", "r"), "--for must be longer than nothing"),
        (("x", "--until", "yesterday", "--reason", "r"), "--until must be a time with its zone"),
        (("x", "--until", "2020-01-01T00:00Z", "--reason", "r"), "--until must be after its beginning"),
        (("[x]", "--for", "1h", "--reason", "r"), "must be a key, or one with * and ?"),
        (("colour=red", "--for", "1h", "--reason", "r"), "one of the names subject, object, kind, vantage"),
        (
            ("kind=x", "--maintenance", "--for", "1h", "--reason", "r"),
            "one of the names server, target, vantage",
        ),
        (("x", "--for", "1h", "--reason", " "), "--reason must be 1 to 500 characters"),
        (("x", "--weekly", "--for", "1h", "--reason", "r"), "--weekly goes with --maintenance only"),
        (("x", "--weekly", "--maintenance", "--for", "8d", "--reason", "r"), "at most 7 days long"),
        (("x", "--for", "1h"), "--reason"),
        (("x", "--reason", "r"), "--for --until"),
    ],
)
def test_a_wrong_silence_is_one_message(
    words: tuple[str, ...], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad usage is told with what to write instead, before anything is asked of the database."""
    config = tmp_path / "collector.toml"
    config.write_text(collector_toml("postgresql://nobody@127.0.0.1:1/none", free_port()))
    try:
        code: object = main(["--config", str(config), "silence", "add", *words])
    except SystemExit as ended:
        code = ended.code
    assert code == 2
    assert said in capsys.readouterr().err


FLEET = """
[[vantage]]
code = "ams1"
city = "Amsterdam"
country = "NL"

[[notify]]
key = "ops"
kind = "json"
url_file = "/etc/sonde/ops.url"
severities = ["critical"]
timeout = "3s"

[[maintenance]]
key = "sunday"
start = "2026-01-04T02:00:00+01:00"
until = "2026-01-04T03:00:00Z"
weekly = true
servers = ["acme-*"]
"""


def test_apply_keeps_channels_and_windows(database_url: str, tmp_path: Path, command: Command) -> None:
    """They are kept as written, a second apply changes nothing, and what leaves the file ends."""
    file = tmp_path / "fleet.toml"
    with psycopg.connect(database_url, autocommit=True) as conn:

        def applied(text: str) -> list[tuple[str, str, str]]:
            file.write_text(text)
            return [(one.sign, one.kind, one.key) for one in apply(conn, load_fleet(file)).changes]

        assert ("+", "notify", "ops") in applied(FLEET)
        assert applied(FLEET) == []
        spec = conn.execute("SELECT spec FROM sonde.notify_channels").fetchone()
        assert spec == (
            {"kind": "json", "url_file": "/etc/sonde/ops.url", "severities": ["critical"], "timeout": 3.0},
        )
        window = "SELECT from_at, until_at, weekly, servers, ended_at IS NULL FROM sonde.maintenance_windows"
        begins = dt.datetime(2026, 1, 4, 1, tzinfo=dt.UTC)
        assert conn.execute(window).fetchone() == (
            begins, begins + dt.timedelta(hours=2), True, ["acme-*"], True,
        )  # fmt: skip
        number = event(conn, severity="critical")
        conn.execute(
            "INSERT INTO sonde.deliveries (event_id, channel, state) VALUES (%s, 'ops', 'waiting')", (number,)
        )
        assert applied(FLEET.partition("[[notify]]")[0]) == [
            ("-", "notify", "ops"),
            ("-", "maintenance", "sunday"),
        ]
        assert conn.execute("SELECT state FROM sonde.deliveries").fetchone() == ("failed",)
        assert conn.execute(window).fetchone()[-1] is False  # type: ignore[index]
        assert ("~", "maintenance", "sunday") in applied(FLEET)
        assert conn.execute(window).fetchone()[-1] is True  # type: ignore[index]
    refused = command("silence", "rm", "m1")
    assert (refused.returncode, "take it out there" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    "words", [("notify",), ("notify", "test"), ("silence",), ("silence", "add"), ("silence", "rm")]
)
def test_help_has_examples(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """`--help` shows how it is used."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    assert f"examples:\n  sonde-collector {words[0]}" in capsys.readouterr().out
