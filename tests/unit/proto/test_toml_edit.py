"""Values into a TOML file that people have written in."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_proto.toml_edit import Value, with_values, write_whole

BEFORE = """\
# Of the collector.
state_dir = "here"

[grpc]
# Plain text is for this host only.
listen = ["127.0.0.1:7443"]
# tls_cert = "/etc/cert.pem"  # an example
[http]
listen = "127.0.0.1:7480"

# [tls]                # PEM files
# ca = "/etc/ca.pem"
# cert = "/etc/agent.pem"

[limits]
"""
KEYS = st.sampled_from(["listen", "tls_cert", "ca", "new", "state_dir"])
TABLES = st.sampled_from(["", "grpc", "http", "tls", "limits", "other"])
VALUES: st.SearchStrategy[Value] = st.text() | st.lists(st.text(), max_size=3)


def test_each_value_finds_its_place() -> None:
    """In the place of what was there, or of its comment; a table in the place of its comment."""
    text = with_values(BEFORE, "grpc", {"listen": ["0.0.0.0:7443"], "tls_cert": "/c.pem", "client_ca": "/a"})
    text = with_values(text, "tls", {"ca": "/ca.pem"})
    text = with_values(text, "", {"state_dir": "there"})
    text = with_values(text, "last", {"key": "value"})
    assert (
        text
        == """\
# Of the collector.
state_dir = "there"

[grpc]
client_ca = "/a"
# Plain text is for this host only.
listen = ["0.0.0.0:7443"]
tls_cert = "/c.pem"
[http]
listen = "127.0.0.1:7480"

[tls]
ca = "/ca.pem"

[limits]

[last]
key = "value"
"""
    )


@given(st.sampled_from([BEFORE, "", "a = 1", "[grpc]"]), TABLES, st.dictionaries(KEYS, VALUES))
def test_all_else_stays(before: str, table: str, values: dict[str, Value]) -> None:
    """Whatever the values: the file means what it meant, and them; a second time changes nothing."""
    text = with_values(before, table, values)
    wanted: dict[str, Any] = tomllib.loads(before)
    (wanted.setdefault(table, {}) if table else wanted).update(values)
    assert tomllib.loads(text) == wanted
    assert with_values(text, table, values) == text


@pytest.mark.parametrize(
    "text",
    ['[grpc]\nlisten = [\n "a",\n]', 'grpc.listen = "a"', 'grpc = { listen = "a" }', "[grpc", "[[grpc]]"],
)
def test_what_can_not_be_changed_is_refused(text: str) -> None:
    """A value over several lines, a table in another form, no TOML: never a broken file."""
    with pytest.raises(ValueError, match=r".+"):
        with_values(text, "grpc", {"listen": "b"})


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    """A new one can be read by all; nothing stays beside."""
    path = tmp_path / "a.toml"
    write_whole(path, "a = 1\n")
    assert path.stat().st_mode & 0o777 == 0o644
    path.chmod(0o600)
    write_whole(path, "a = 2\n")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.read_text() for file in tmp_path.iterdir()] == ["a = 2\n"]
