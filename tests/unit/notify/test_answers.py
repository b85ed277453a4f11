"""What is done about an answer, and how long is waited."""

import datetime as dt
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.notify.answers import LONGEST_WAIT_S, backoff_s, judge
from sonde_collector.notify.message import Secrets
from sonde_collector.notify.secret_files import hidden, scrub

NOW = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("status", "action"),
    [
        (200, "sent"), (204, "sent"), (301, "give_up"), (308, "give_up"), (400, "give_up"), (401, "give_up"),
        (404, "give_up"), (408, "retry"), (410, "give_up"), (413, "give_up"), (425, "retry"), (429, "retry"),
        (500, "retry"), (502, "retry"), (503, "retry"), (504, "retry"), (599, "retry"),
    ],
)  # fmt: skip
def test_a_status_decides(status: int, action: str) -> None:
    """What may be otherwise later is tried again, what is our mistake is not."""
    assert judge(status, {}, b"", NOW).action == action


@pytest.mark.parametrize(
    ("header", "body", "wait_s"),
    [
        ("7", b"", 7.0),
        ("Sun, 01 Mar 2026 12:01:00 GMT", b"", 60.0),
        ("Sun, 01 Mar 2026 11:00:00 GMT", b"", 0.0),
        ("999999999", b"", LONGEST_WAIT_S),
        ("soon", b"", None),
        (None, b'{"message": "You are being rate limited.", "retry_after": 0.65, "global": false}', 0.65),
        (None, b'{"ok":false,"error_code":429,"parameters":{"retry_after":31}}', 31.0),
        (None, b'{"retry_after": NaN}', None),
        (None, b'{"retry_after": -5}', 0.0),
        (None, b'{"retry_after": "5"}', None),
        (None, b"[1, 2]", None),
        (None, b"[" * 100_000, None),
        (None, b"\xff", None),
    ],
)
def test_a_server_says_how_long_to_wait(header: str | None, body: bytes, wait_s: float | None) -> None:
    """Retry-After in seconds or as a date, Discord's and Telegram's word in the body; nonsense is none."""
    headers = {} if header is None else {"retry-after": header}
    assert judge(429, headers, body, NOW).wait_s == wait_s


@given(st.integers(400, 599), st.text(), st.binary(max_size=500), st.integers(1, 10_000))
def test_no_answer_breaks_the_rules(status: int, header: str, body: bytes, attempts: int) -> None:
    """Whatever comes, the wait is between a second and an hour, and what is said is one printable line."""
    outcome = judge(status, {"retry-after": header}, body, NOW)
    assert 1.0 <= backoff_s(attempts, outcome.wait_s) <= LONGEST_WAIT_S
    assert outcome.said.isprintable()


def test_waits_grow() -> None:
    """Each attempt that fails makes the next wait no shorter."""
    waits = [backoff_s(n, None) for n in range(1, 30)]
    assert waits == sorted(waits)


@given(st.text(alphabet=string.ascii_letters + string.digits + "-_", min_size=8, max_size=30), st.text())
def test_no_secret_is_shown(secret: str, words: str) -> None:
    """A text without what the files hold holds none of it: neither a token nor the parts of a URL."""
    secrets = Secrets(url=f"https://hooks.example.com/services/{secret}", token=secret)
    shown = scrub(f"{words} {secrets.url} {secret} {words}", hidden(secrets))
    assert secret not in shown
