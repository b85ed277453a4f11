"""The strict loader that both programs read their configuration with."""

import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_proto import toml_config
from sonde_proto.toml_config import ConfigError, FromText, between, existing_file, not_empty
from sonde_proto.units import Duration, Size, parse_duration, parse_size


@attrs.frozen
class Limits:
    """An inner table."""

    concurrency: Annotated[int, between(1, 100)] = 32
    every: Duration = attrs.field(factory=lambda: parse_duration("1s"))
    size: Size = attrs.field(factory=lambda: parse_size("5B"))


@attrs.frozen
class Server:
    """One of a list of tables."""

    key: Annotated[str, not_empty]
    port: int | None = None


@attrs.frozen
class Model:
    """A document of every type."""

    name: str
    kind: Literal["a", "b"] = "a"
    limits: Limits = attrs.field(factory=Limits)
    servers: tuple[Server, ...] = ()
    which: Literal["*"] | tuple[str, ...] = "*"
    weights: dict[str, float] = attrs.field(factory=dict)
    file: Path | None = None
    there: Annotated[Path, existing_file] | None = None
    net: Annotated[ipaddress.IPv4Network, FromText(ipaddress.IPv4Network)] | None = None
    loud: bool = False

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """What two keys must satisfy together."""
        if fields.get("kind") == "b" and not fields.get("loud", True):
            yield "loud", 'must be true when kind is "b"'


def mistakes(tmp_path: Path, text: str | bytes) -> list[str]:
    """What the loader says about a file that holds `text`."""
    path = tmp_path / "x.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        toml_config.load(path, Model)
    assert caught.value.path == path
    assert str(caught.value) == "\n".join(f"{path}: {line}" for line in caught.value.messages)
    return caught.value.messages


def test_a_good_file_becomes_the_model(tmp_path: Path) -> None:
    """Every supported type is read as what it is, and what is left out has its default."""
    path = tmp_path / "x.toml"
    path.write_text(
        'name = "x"\nwhich = ["p", "q"]\nfile = "certs/ca.pem"\nnet = "10.0.0.0/8"\n'
        "weights = {a = 1, b = 2.5}\n"
        '[limits]\nevery = "1m30s"\nsize = "1GiB"\n'
        '[[servers]]\nkey = "s1"\nport = 5\n[[servers]]\nkey = "s2"\n'
    )
    assert toml_config.load(path, Model) == Model(
        name="x",
        which=("p", "q"),
        file=tmp_path / "certs/ca.pem",
        net=ipaddress.IPv4Network("10.0.0.0/8"),
        weights={"a": 1, "b": 2.5},
        limits=Limits(every=Duration(90.0), size=Size(2**30)),
        servers=(Server("s1", 5), Server("s2")),
    )


def test_every_mistake_is_told_at_once_with_its_path(tmp_path: Path) -> None:
    """Wrong types and values, unknown and missing keys, what keys must satisfy together: one line each."""
    assert mistakes(
        tmp_path,
        'kind = "b"\nfile = 5\nthere = "gone.pem"\nnet = "10.0.0.1/8"\nloud = false\n'
        '[limits]\nconcurrency = "5"\nevry = "1s"\nsize = 7\n'
        '[[servers]]\nkey = ""\n[[servers]]\nkey = "b"\nport = true\n[weights]\na = nan\n',
    ) == [
        "name: is required",
        'limits.evry: is not a known key; did you mean "every"?',
        'limits.concurrency: must be an integer, not "5"',
        'limits.size: must be a size such as "512MB", not 7',
        "servers[0].key: must not be empty",
        "servers[1].port: must be an integer, not true",
        "weights.a: must be a finite number, not nan",
        "file: must be a path in quotes, not 5",
        f"there: no such file: {tmp_path / 'gone.pem'}",
        "net: 10.0.0.1/8 has host bits set",
        'loud: must be true when kind is "b"',
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name", "end of document: is not TOML: Expected '=' after a key in a key/value pair"),
        ('name = "a"\nname = "b"', "is not TOML: Cannot overwrite a value"),
        (b'name = "\xff"', "line 1: is not UTF-8 text"),
        ("name = " + "1" * 5000, "can't be read: Exceeds the limit"),
        ("name = 5", "name: must be a string, not 5"),
        ('name = "x"\nlimits = 3', "limits: must be a table, not 3"),
        ('name = "x"\nservers = {}', "servers: must be a list, not a table"),
        ('name = "x"\nwhich = "all"', 'which: must be one of "*", not "all"'),
        ('name = "x"\nlimits.concurrency = 101', "limits.concurrency: must be between 1 and 100, not 101"),
        ('name = "\\u0000"', "name: must not hold a NUL character"),
        ("name = 2020-01-01", "name: must be a string, not a date or time"),
        ('name = "x"\nzzz = 1', "zzz: is not a known key; known here: file, kind"),
    ],
)
def test_each_kind_of_mistake_says_what_to_write(tmp_path: Path, text: str | bytes, message: str) -> None:
    """One mistake gives one line that names the place and what is expected there."""
    (line,) = mistakes(tmp_path, text)
    assert message in line


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file and a directory are told as such, without a traceback's words."""
    with pytest.raises(ConfigError, match=r"gone\.toml: no such file"):
        toml_config.load(tmp_path / "gone.toml", Model)
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        toml_config.load(tmp_path, Model)


KEYS = ["name", "kind", "limits", "servers", "which", "weights", "file", "net", "key", "port", "every", "x"]
values: st.SearchStrategy[Any] = st.recursive(
    st.none().map(lambda _: "x")
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(KEYS), values))
def test_any_document_is_a_model_or_a_list_of_mistakes(document: dict[str, Any]) -> None:
    """Whatever TOML holds, the answer is the model or at least one message; never another error."""
    try:
        assert isinstance(toml_config.parse(document, Model), Model)
    except ConfigError as error:
        assert error.messages  # noqa: PT017
        assert len(set(error.messages)) == len(error.messages)  # noqa: PT017
