"""A backup's manifest keeps what it says, and damaged ones are refused."""

import datetime as dt

import pytest

from sonde_collector.db.errors import BackupError
from sonde_collector.keeping.manifest import File, Manifest, differences, read, unfit

MADE = Manifest(
    made_at=dt.datetime(2026, 11, 28, 12, 30, 1, 5, tzinfo=dt.UTC),
    database_id="9b1c",
    database_bytes=10**9,
    postgres="18.4",
    program="0.3.0",
    migrations={"0001_base": "aa"},
    rows={"public.servers": 3},
    files={"database.dump": File(7, "bb")},
)


def test_what_is_written_is_read() -> None:
    """A manifest survives its text."""
    assert read(MADE.to_json(), "here") == MADE
    assert MADE.bytes == 7


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no manifest"),
        ("[]", "no manifest"),
        ("{}", "no manifest"),
        ('{"format": 2}', "format 2; this program reads 1"),
        ('{"format": 1}', "a damaged manifest"),
        (MADE.to_json().replace('"bytes": 7', '"octets": 7'), "a damaged manifest"),
        (MADE.to_json().replace("2026-11-28", "yesterday"), "a damaged manifest"),
    ],
)
def test_what_is_no_manifest(text: str, complaint: str) -> None:
    """Text that is no manifest is refused, with its place."""
    with pytest.raises(BackupError, match=f"here: {complaint}"):
        read(text, "here")


def test_fit_for_what_is_older_or_the_same() -> None:
    """A backup goes to its own major version or a newer one, and to a program that knows its schema."""
    assert unfit(MADE, {"0001_base": "aa", "0002_more": "cc"}, 18) == ""
    assert unfit(MADE, {"0001_base": "aa"}, 19) == ""
    assert "would be restored to 17" in unfit(MADE, {"0001_base": "aa"}, 17)
    assert "0001_base" in unfit(MADE, {}, 18)
    assert "other texts" in unfit(MADE, {"0001_base": "zz"}, 18)


def test_rows_that_differ_are_named() -> None:
    """A table that is missing or holds another number is told; one that is new is not."""
    assert differences({"a": 1, "b": 2, "c": 0}, {"a": 1, "b": 3, "d": 9}) == [
        "b holds 3 rows and should hold 2"
    ]
    assert differences({"a": 1}, {}) == ["a holds 0 rows and should hold 1"]
