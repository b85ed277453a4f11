"""Parameters, cursors, ETags and the document, without a server."""

import base64
import datetime as dt
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.read.api import cursor, openapi
from sonde_collector.read.api.answer import matches, takes_gzip
from sonde_collector.read.api.cursor import Order
from sonde_collector.read.api.fields import Field, Object
from sonde_collector.read.api.parameters import (
    BadParameter,
    Choice,
    Codes,
    Flag,
    Number,
    Parameter,
    Text,
    Time,
    read,
)
from sonde_collector.read.api.resources import operations
from sonde_collector.read.lookup import like
from sonde_collector.read.ranges import KEPT

KINDS = (Text(5), Number(1, 50), Choice(("a", "b")), Flag(), Time(), Codes())
ORDER = (Order("at", "time"), Order("key", "text"), Order("_id", "integer"))


@given(st.text(max_size=30), st.sampled_from(KINDS))
def test_any_text_is_read_or_told(text: str, kind: Any) -> None:
    """Whatever a parameter's text is, it is read, or refused with the parameter's name; nothing else."""
    told = None
    try:
        read([Parameter("p", kind, "")], {}, [("p", text)])
    except BadParameter as error:
        told = error
    assert told is None or (told.parameter == "p" and told.detail.isprintable())


@given(st.text(max_size=10), st.sampled_from((Text(5), Codes())))
def test_what_is_read_is_what_the_document_says(text: str, kind: Any) -> None:
    """A text is read exactly when its JSON Schema lets it pass."""
    schema = kind.schema()
    passes = bool(re.search(schema["pattern"], text)) and (
        schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", 10**6)
    )
    # Python's "$" also stands before a last newline; JSON Schema's does not.
    passes = passes and not text.endswith("\n")
    try:
        kind.read(text)
    except ValueError:
        assert not passes
    else:
        assert passes


@given(
    st.fixed_dictionaries(
        {
            "at": st.datetimes(timezones=st.just(dt.UTC), min_value=dt.datetime(1970, 1, 1)),  # noqa: DTZ001
            "key": st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=50),
            "_id": st.integers(-(2**63) + 1, 2**63 - 1),
        }
    )
)
def test_a_cursor_gives_back_the_place(row: dict[str, Any]) -> None:
    """What a cursor was made of comes out of it, to the last digit, for its own question alone."""
    word = cursor.write("q", ORDER, row)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", word)
    assert cursor.read("q", ORDER, word) == {
        "after_at": row["at"], "after_key": row["key"], "after_id": row["_id"]
    }  # fmt: skip
    with pytest.raises(ValueError, match="another question"):
        cursor.read("other", ORDER, word)


MADE_UP = st.binary(max_size=80).map(lambda raw: base64.urlsafe_b64encode(raw).decode())


@given(st.one_of(st.text(max_size=80), MADE_UP))
def test_a_made_up_cursor_is_told(word: str) -> None:
    """No word that is not a cursor does anything but be refused."""
    with pytest.raises(ValueError, match=r"must be|belongs"):
        cursor.read("q", ORDER, word)


@pytest.mark.parametrize(
    "parts",
    [
        ["q", "2026-01-01T00:00:00Z", "k", 2**63],
        ["q", "2026-01-01T00:00:00Z", "k", True],
        ["q", "2026-01-01T00:00:00Z", "k", 1.5],
        ["q", "2026-01-01T00:00:00Z", "k", "1"],
        ["q", "2026-01-01T00:00:00Z", "a\0b", 1],
        ["q", "2026-01-01T00:00:00Z", "\ud800", 1],
        ["q", "2026-01-01T00:00:00", "k", 1],
        ["q", "yesterday", "k", 1],
        ["q", None, None, None],
        ["q"],
        {"q": 1},
        "q",
        None,
    ],
)
def test_a_cursor_of_wrong_places_is_told(parts: Any) -> None:
    """A place of another type, out of range or with what no text holds is refused."""
    word = base64.urlsafe_b64encode(json.dumps(parts).encode()).decode()
    with pytest.raises(ValueError, match="must be"):
        cursor.read("q", ORDER, word)


@pytest.mark.parametrize(
    ("header", "same"),
    [('"a"', True), ('W/"a"', True), ('"b", W/"a"', True), ("*", True), (" * ", True), ('"b"', False),
     ("a", False), ("", False), ('"a', False)],
)  # fmt: skip
def test_if_none_match(header: str, *, same: bool) -> None:
    """Weak and strong forms are one, lists are searched, and what is no ETag matches nothing."""
    assert matches(header, 'W/"a"') is same


@pytest.mark.parametrize(
    ("header", "taken"),
    [("gzip", True), ("br, gzip;q=0.2", True), ("*", True), ("GZIP", True), ("gzip;q=0", False),
     ("br", False), ("", False), ("*;q=0", False), ("gzip;q=0, *", False), ("gzip;q=x", False)],
)  # fmt: skip
def test_accept_encoding(header: str, *, taken: bool) -> None:
    """Gzip is taken where it is named or meant, with a weight above nothing."""
    assert takes_gzip(header) is taken


def test_a_glob_is_a_like_pattern() -> None:
    """* and ? are LIKE's % and _, whose own signs are escaped."""
    assert like("a*b?%_\\") == "a%b_\\%\\_\\\\"
    assert like(None) is None


def test_the_document_holds_every_operation_once() -> None:
    """Each operation has its own name and path, with its parameters there and no others."""
    offered = operations(KEPT)
    document = openapi.document(offered, "1")
    json.dumps(document, allow_nan=False)
    assert document["openapi"].startswith("3.1")
    assert len(document["paths"]) == len(offered) == len({each.name for each in offered})
    wanted = {"servers", "servers/{key}", "ranking", "servers/{key}/trend", "targets", "targets/{key}/trend",
              "matrix", "health", "agents", "gaps", "events"}  # fmt: skip
    assert {f"/v1/{each}" for each in wanted} <= set(document["paths"])
    for each in offered:
        shown = document["paths"][each.path]["get"]["parameters"]
        assert [one["name"] for one in shown] == [one.name for one in each.takes]
        assert {one["name"] for one in shown if one["in"] == "path"} == set(re.findall(r"{(\w+)}", each.path))


def test_what_is_not_finite_is_null() -> None:
    """JSON has no infinity: a number that is none is not measured."""
    shape = Object("X", (Field("a", "number", null=True), Field("b", "time", null=True)))
    assert shape.plain({"a": float("inf"), "b": None}) == {"a": None, "b": None}
