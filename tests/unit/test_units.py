"""Durations and sizes as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_proto.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("250ms", 0.25),
        ("10s", 10),
        ("5m", 300),
        ("48h", 172_800),
        ("14d", 1_209_600),
        ("1m30s", 90),
        ("1.5h", 5400),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    """A duration is the sum of its parts."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "5 s", "-5s", "5S", "s", "30s1m", "1m1m", "1e3s", "٣s", "5min", "10s "]
)
def test_what_is_no_duration_is_refused_with_examples(text: str) -> None:
    """A bare number, a sign, a wrong order or an unknown unit is refused, with examples."""
    with pytest.raises(ValueError, match="must be a duration such as"):
        parse_duration(text)


@given(st.integers(0, 10**12))
def test_a_formatted_duration_reads_back(milliseconds: int) -> None:
    """`format_duration` loses nothing down to the millisecond."""
    assert round(parse_duration(format_duration(milliseconds / 1000)) * 1000) == milliseconds


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_clear_refusal(text: str) -> None:
    """No input makes the parser fail in another way."""
    try:
        assert parse_duration(text) >= 0
    except ValueError as error:
        assert "duration" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0B", 0),
        ("512MB", 512_000_000),
        ("1GiB", 2**30),
        ("1.5kB", 1500),
        ("2 TB", 2 * 10**12),
        ("3KiB", 3072),
    ],
)
def test_sizes(text: str, count: int) -> None:
    """A kB and its kin are powers of 1000, a KiB and its kin powers of 1024."""
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "5", "MB", "-1MB", "5mb", "5M", "5 EB", "1e3B"])
def test_what_is_no_size_is_refused_with_examples(text: str) -> None:
    """A bare number or an unknown unit is refused, and the message shows how to write it."""
    with pytest.raises(ValueError, match="must be a size such as"):
        parse_size(text)


@given(st.integers(0, 10**15))
def test_a_formatted_size_is_near_and_short(count: int) -> None:
    """A person reads three digits, and they are right to half a percent."""
    number, unit = format_size(count).split()
    assert len(number.replace(".", "")) <= 4
    assert parse_size(f"{float(number):.10f}{unit}") == pytest.approx(count, rel=0.006)
