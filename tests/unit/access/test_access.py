"""Tokens, buckets and the rule of who needs no key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.access import tokens
from sonde_collector.access.admit import PROXY_HEADERS, may_be_anonymous
from sonde_collector.access.bucket import Bucket


def test_a_token_is_found_in_its_header_alone() -> None:
    """Every token is new, and is read back from a Bearer header and from nothing that looks alike."""
    made = {tokens.new() for _ in range(100)}
    assert len(made) == 100
    for token in made:
        assert tokens.bearer(f"Bearer {token}") == tokens.bearer(f"bearer  {token} ") == token
        for odd in (
            token,
            f"Basic {token}",
            f"Bearer {token}x",
            f"Bearer {token[:-1]}",
            f"Bearer {token},{token}",
        ):
            assert tokens.bearer(odd) is None


@given(
    rate=st.integers(1, 100_000),
    pauses=st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=200),
)
def test_a_bucket_never_gives_more_than_its_rate(rate: int, pauses: list[float]) -> None:
    """In any stretch of time no more is let through than a minute's worth and what flows in meanwhile."""
    now, allowed = 1000.0, 0
    bucket = Bucket.full(rate, now)
    for pause in pauses:
        now += pause
        taken = bucket.take(rate, now)
        allowed += taken.allowed
        assert 0 <= taken.left <= rate
        assert taken.allowed or taken.wait_s > 0
    assert allowed <= rate + (now - 1000.0) * rate / 60 + 1e-6


@given(rate=st.integers(1, 10_000), asked=st.integers(1, 300))
def test_who_waits_as_told_is_let_in(rate: int, asked: int) -> None:
    """After `wait_s` one more may come."""
    bucket = Bucket.full(rate, 0.0)
    now = 0.0
    for _ in range(asked):
        taken = bucket.take(rate, now)
        if not taken.allowed:
            now += taken.wait_s + 1e-6
            assert bucket.take(rate, now).allowed


def test_a_clock_that_goes_back_fills_nothing() -> None:
    """An earlier time than the last gives nothing and takes nothing."""
    bucket = Bucket.full(1, 100.0)
    assert bucket.take(1, 100.0).allowed
    assert not bucket.take(1, 40.0).allowed
    assert not bucket.take(1, 100.0).allowed
    assert bucket.take(1, 160.0).allowed


@pytest.mark.parametrize(
    ("listens", "client", "host", "anonymous"),
    [
        ("127.0.0.1", "127.0.0.1", "127.0.0.1:7480", True),
        ("127.0.0.1", "127.0.0.1", "localhost", True),
        ("127.9.9.9", "127.0.0.1", "LOCALHOST.:1", True),
        ("::1", "::1", "[::1]:7480", True),
        ("localhost", "::ffff:127.0.0.1", "localhost:1", True),
        ("0.0.0.0", "127.0.0.1", "127.0.0.1", False),
        ("::", "::1", "[::1]", False),
        ("192.0.2.1", "192.0.2.1", "192.0.2.1", False),
        ("127.0.0.1", "192.0.2.1", "127.0.0.1", False),
        ("127.0.0.1", None, "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", "", False),
        ("127.0.0.1", "127.0.0.1", "evil.example", False),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1.evil.example", False),
        ("127.0.0.1", "127.0.0.1", "localhost.evil.example", False),
    ],
)
def test_who_needs_no_key(listens: str, client: str | None, host: str, *, anonymous: bool) -> None:
    """Only a neighbour on loopback who asks for loopback, without a proxy's header, where it is on."""
    headers = {"host": host, "accept": "*/*"}
    asked = {"listens": listens, "client": client}
    assert may_be_anonymous(allowed=True, headers=headers, **asked) is anonymous
    assert not may_be_anonymous(allowed=False, headers=headers, **asked)
    for name in PROXY_HEADERS:
        assert not may_be_anonymous(allowed=True, headers={**headers, name: ""}, **asked)
