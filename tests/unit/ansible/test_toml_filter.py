"""agent.toml and collector.toml as the roles write them."""

import datetime as dt
import math
import tomllib
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st
from support.collection import plugin

to_toml = plugin("filter/toml").to_toml

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = (
    TEXTS
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.dates()
    | st.datetimes(timezones=st.none() | st.just(dt.UTC))
)
VALUES = st.recursive(
    SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(TEXTS, each, max_size=3), max_leaves=12
)
DOCUMENTS = st.dictionaries(TEXTS, VALUES, max_size=5)


@given(DOCUMENTS)
def test_what_is_written_is_read_as_it_was(document: dict[str, Any]) -> None:
    """Whatever can be said in TOML comes back from tomllib, with its types and in its order of values."""
    read = tomllib.loads(to_toml(document))
    assert read == document
    assert _types(read) == _types(document)


def _types(value: Any) -> Any:
    """1, 1.0 and true are equal to Python; to a strict reader they are not."""
    if isinstance(value, dict):
        return {key: _types(one) for key, one in value.items()}
    return [_types(one) for one in value] if isinstance(value, list) else type(value)


def test_not_a_number_is_toml() -> None:
    """Nan is written in TOML's word for it."""
    assert math.isnan(tomllib.loads(to_toml({"x": math.nan}))["x"])


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"tls": {"ca": None}}, "TOML has no null: leave the key out (at tls.ca)"),
        ({"a": [1, None]}, "TOML has no null: leave the key out (at a)"),
        ({"a": 2**63}, "TOML has integers of 64 bits: 9223372036854775808 (at a) is longer"),
        ({"a": {1: 2}}, "TOML has text as keys: 1 (at a) is none, put it in quotes"),
        ({"a": b"x"}, "TOML has no bytes: leave the key out (at a)"),
        ([1], "TOML is a table of keys, not list"),
    ],
)
def test_what_toml_can_not_say_is_refused(document: Any, message: str) -> None:
    """The message names the key."""
    with pytest.raises(AnsibleFilterError) as raised:
        to_toml(document)
    assert str(raised.value) == message


def test_a_configuration_looks_as_people_write_it() -> None:
    """Values before tables, a header for each table that has values, dotted names."""
    document = {
        "credential": {"acme": {"profiles": "/etc/sonde/acme"}},
        "vantage": "ams1",
        "plan": [{"key": "ping", "every": "60s"}],
    }
    assert to_toml(document) == (
        'vantage = "ams1"\n\n[credential.acme]\nprofiles = "/etc/sonde/acme"\n'
        '\n[[plan]]\nkey = "ping"\nevery = "60s"\n'
    )
