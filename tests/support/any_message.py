"""Any message of a protobuf type that can travel, with a liking for what is at the edge."""

from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

M = TypeVar("M", bound=Message)

_TEXTS = st.sampled_from(
    ["", "a", "10.0.0.1", "192.0.2.1", "http://192.0.2.1/", "http://10.1/", "[::1]:80", "-x", "../x", "\0",
     "\n", "/etc/shadow", "localhost", "x" * 5000, "\U0001f600", "[", "(a+)+$", "lab", "192.0.2.1:5201"]
) | st.text(max_size=20)  # fmt: skip
_U32 = st.sampled_from([0, 1, 9, 10, 1000, 60_000, 2**31 - 1, 2**32 - 1]) | st.integers(0, 2**32 - 1)
_U64 = st.sampled_from([0, 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
_I64 = st.sampled_from([-(2**63), -1, 0, 1, 2**63 - 1]) | st.integers(-(2**63), 2**63 - 1)
_VALUES: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: _TEXTS,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=40),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_UINT32: _U32,
    FieldDescriptor.TYPE_UINT64: _U64,
    FieldDescriptor.TYPE_INT64: _I64,
    FieldDescriptor.TYPE_ENUM: st.integers(0, 6) | st.sampled_from([-1, 77]),
}
_DEEPEST = 4


def messages(kind: type[M]) -> st.SearchStrategy[M]:
    """Any `kind`."""
    return _fields(kind.DESCRIPTOR, 0).map(lambda fields: kind(**fields))


def _fields(kind: Descriptor, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    """Some of its fields; of a oneof at most one, as on the wire the last one counts."""
    return st.deferred(
        lambda: st.fixed_dictionaries(
            {}, optional={field.name: _value(field, depth) for field in kind.fields if _fits(field, depth)}
        )
    )


def _fits(field: FieldDescriptor, depth: int) -> bool:
    return field.message_type is None or depth < _DEEPEST


def _value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is None:
        one = _VALUES[field.type]
    elif field.message_type.GetOptions().map_entry:
        return st.dictionaries(_TEXTS, _TEXTS, max_size=3)
    else:
        one = _fields(field.message_type, depth + 1)
    return st.lists(one, max_size=3) if field.is_repeated else one
