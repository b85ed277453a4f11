"""What each service is sent, against golden pairs; and what holds for whatever is told."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.inventory.model import Notify
from sonde_collector.notify import text
from sonde_collector.notify.event import Event, Notice
from sonde_collector.notify.message import MOST, Secrets, Unsendable, request

GOLDEN = Path(__file__).parents[2] / "golden" / "notify"
NOW = dt.datetime(2026, 3, 1, 12, 31, tzinfo=dt.UTC)
DATABASE = "6f0e4a52-5d0c-4b3e-9a55-9a3b2c1d0e0f"
CASES = sorted(GOLDEN.glob("*.in"))


def _event(row: dict[str, Any] | None) -> Event | None:
    return None if row is None else Event(**{**row, "at": dt.datetime.fromisoformat(row["at"])})


def _notice(row: dict[str, Any]) -> Notice:
    event = _event(row["event"])
    assert event is not None
    since = row["since"] and dt.datetime.fromisoformat(row["since"])
    return Notice(event, _event(row["before"]), since)


def message(case: dict[str, Any]) -> Any:
    """What a case sends, or why it can't."""
    spec = {name: tuple(each) if isinstance(each, list) else each for name, each in case["channel"].items()}
    channel, notices = Notify(key="ops", **spec), [_notice(row) for row in case["notices"]]
    if channel.kind == "smtp":
        return text.mail(channel, notices, database=DATABASE, now=NOW).as_string().splitlines()
    try:
        sent = request(channel, Secrets(**case["secrets"]), notices, database=DATABASE, now=NOW)
    except Unsendable as error:
        return {"error": str(error)}
    return {"url": sent.url, "headers": dict(sent.headers), "body": json.loads(sent.body)}


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_a_service_is_sent_what_it_documents(case: Path) -> None:
    """URL, headers and body of a message are those beside its input."""
    expected = json.loads(case.with_suffix(".json").read_text())
    assert message(json.loads(case.read_text())) == expected


def test_every_kind_has_golden_files() -> None:
    """No preset is without one."""
    assert {path.stem.partition("-")[0] for path in CASES} == set(MOST)


texts = st.text(max_size=3000)
events = st.builds(
    Event,
    id=st.integers(1, 1 << 60),
    at=st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)),  # noqa: DTZ001
    kind=texts,
    subject=texts,
    detail=texts,
    severity=st.sampled_from(("info", "warning", "critical")),
    topic=st.none() | texts,
    resolved=st.booleans(),
    data=st.dictionaries(st.text(max_size=5), st.none() | st.booleans() | texts, max_size=3),
)


@given(st.lists(st.builds(Notice, events, st.none() | events, st.none()), min_size=1, max_size=10))
def test_limits_of_the_services_hold_for_any_text(notices: list[Notice]) -> None:
    """However long and odd the words are, no message is longer than its service takes."""
    url, token = Secrets(url="https://example.com/topic"), Secrets(token="1:x")
    for kind, secrets in (("discord", url), ("telegram", token), ("ntfy", url), ("slack", url)):
        channel = Notify(key="k", kind=kind, chat="1")  # type: ignore[arg-type]
        body = json.loads(request(channel, secrets, notices, database=DATABASE, now=NOW).body)
        if kind == "discord":
            assert len(body["content"]) <= 2000
            sizes = [(len(each["title"]), len(each["description"])) for each in body["embeds"]]
            assert all(title <= 256 and detail <= 4096 for title, detail in sizes)
            assert sum(map(sum, sizes)) <= 6000
        elif kind == "telegram":
            assert 1 <= len(body["text"]) <= 4096
        elif kind == "ntfy":
            assert len(body["message"].encode()) <= 4096
        else:
            assert len(body["attachments"]) == len(notices)
    channel = Notify(key="k", kind="smtp", host="h", sender="a@b.test", to=("c@d.test",))
    mail = text.mail(channel, notices, database=DATABASE, now=NOW)
    assert mail["To"] == "c@d.test"
    assert bytes(mail).count(b"\nTo: ") == 1
