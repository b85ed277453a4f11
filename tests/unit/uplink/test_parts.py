"""The uplink's parts without a network: address rules, clock, the search for a poison."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.uplink.channel import TlsFiles, check
from sonde_agent.uplink.clock_exchange import ClockExchange
from sonde_agent.uplink.narrowing import Narrowing, Sent
from sonde_proto.toml_config import ConfigError

FILES = TlsFiles(Path("ca.pem"), Path("cert.pem"), Path("key.pem"))


@pytest.mark.parametrize(
    "address", ["127.0.0.1:7443", "127.9.9.9:1", "[::1]:7443", "localhost:7443", "unix:/run/sonde/grpc"]
)
def test_plain_text_on_this_machine(address: str) -> None:
    """Loopback and unix sockets need no certificate."""
    check(address, None, "")


@pytest.mark.parametrize(
    "address", ["192.0.2.1:7443", "collector.example:7443", "[2001:db8::1]:7443", "0.0.0.0:1"]
)
def test_plain_text_over_a_network_is_refused(address: str) -> None:
    """Any other address is refused without TLS, and taken with it."""
    with pytest.raises(ConfigError, match="plain text is for loopback alone"):
        check(address, None, "")
    check(address, FILES, "")


@pytest.mark.parametrize(
    "address", ["", "collector", "host:port", "host:70000", "http://host:1", "unix:relative"]
)
def test_no_address(address: str) -> None:
    """What is no address is refused with what it must look like."""
    with pytest.raises(ConfigError, match="must"):
        check(address, FILES, "")


def test_all_mistakes_at_once() -> None:
    """Address and proxy are judged together."""
    with pytest.raises(ConfigError) as caught:
        check("nonsense", None, "socks5://x")
    assert len(caught.value.messages) == 2


def test_clock_takes_the_shortest_round_trip() -> None:
    """Of several exchanges the one with the least delay gives offset and bound."""
    clock = ClockExchange()
    clock.add(1_000_000, 1_600_000, 1_600_000, 1_400_000)
    clock.add(2_000_000, 2_510_000, 2_520_000, 2_030_000)
    best = clock.best()
    assert best
    assert (best.offset_us, best.error_us) == (500_000, 10_000)


@given(
    offset=st.integers(-(10**9), 10**9),
    there=st.integers(0, 10**6),
    back=st.integers(0, 10**6),
    work=st.integers(0, 10**6),
)
def test_clock_bound_holds(offset: int, there: int, back: int, work: int) -> None:
    """The true offset lies within the bound, however unequal the two ways are."""
    sent = 10**12
    received = sent + there + offset
    clock = ClockExchange()
    clock.add(sent, received, received + work, sent + there + work + back)
    best = clock.best()
    assert best
    assert abs(best.offset_us - offset) <= best.error_us + 1


def test_clock_forgets_after_a_step() -> None:
    """A sample that contradicts the best one replaces all that were before it."""
    clock = ClockExchange()
    clock.add(10**12, 10**12 + 5, 10**12 + 5, 10**12 + 10)
    clock.add(2 * 10**12, 2 * 10**12 + 10**7, 2 * 10**12 + 10**7, 2 * 10**12 + 100)
    best = clock.best()
    assert best
    assert best.offset_us == pytest.approx(10**7, abs=100)


def test_clock_ignores_what_can_not_be() -> None:
    """A negative round trip, as a clock step within an exchange gives, says nothing."""
    clock = ClockExchange()
    clock.add(10**12, 10**12, 10**12, 10**12 - 1)
    clock.add(0, 10**12, 10**12, 10**12)
    assert clock.best() is None


@given(poison=st.sets(st.integers(1, 5000), min_size=1, max_size=4), window=st.integers(1, 4))
def test_search_finds_every_poison(poison: set[int], window: int) -> None:
    """Whichever results can't be read, exactly they are set aside, and the usual numbers come back."""
    narrowing = Narrowing(1000, window)
    acked, aside, tries = 0, set(), 0
    while acked < 5000:
        tries += 1
        assert tries < 400
        sent, start = [], acked + 1
        while len(sent) < narrowing.window and start <= 5000:
            last = min(start + narrowing.limit_rows - 1, 5000)
            sent.append(Sent(start, last, tuple(n for n in range(start, last + 1) if n not in aside)))
            start = last + 1
        bad = next((i for i, batch in enumerate(sent) if poison & set(batch.rows)), None)
        for batch in sent[:bad]:
            acked = batch.last_seq
            narrowing.acked(acked)
        if bad is not None:
            found = narrowing.refused(sent[bad:])
            aside |= {found} if found else set()
    assert aside == poison
    narrowing.acked(10_000)
    assert (narrowing.limit_rows, narrowing.window) == (1000, window)
