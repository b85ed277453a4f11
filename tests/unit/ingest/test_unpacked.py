"""The size of a batch once unpacked: never less than what its results take; a bomb is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import Spool, arrive, endpoint, performance

from sonde_collector.ingest.unpacked import texts
from sonde_collector.ingest.validate import MAX_ROWS
from sonde_proto import columns
from sonde_proto.columns import MalformedBatch
from sonde_proto.v1 import results_pb2


@given(st.lists(st.text(max_size=40), max_size=30), st.sampled_from([0, 100, 70_000]))
def test_it_is_at_least_what_the_results_say(words: list[str], more: int) -> None:
    """The characters of all texts, each counted as often as it is named."""
    results = [endpoint(mismatch=word + "x" * more) for word in words]
    batch = Spool().batch(results or [performance()])
    said = sum(len(result.target) + len(result.endpoint.mismatch) for result in results)
    assert texts(columns.decode(batch), batch.strings) >= said


@pytest.mark.parametrize(
    ("results", "what"),
    [
        ([endpoint(hops="x" * 60_000)] * 300, "bytes once unpacked"),
        ([performance()] * (MAX_ROWS + 1), "results"),
    ],
)
def test_a_bomb_is_refused_with_what_to_do(results: list[results_pb2.Result], what: str) -> None:
    """A text once on the wire and hundreds of times in the table; more results than any agent sends."""
    batch = Spool().batch(results)
    assert batch.ByteSize() < 3 << 20
    with pytest.raises(MalformedBatch, match=f"{what}: at most .*; send fewer results"):
        arrive(batch)


def test_codes_that_name_no_text_are_no_trouble() -> None:
    """A dictionary that is short of what its columns name is judged later, row by row."""
    batch = Spool().batch([endpoint(hops="x" * 60_000), endpoint(mismatch="y")])
    del batch.strings[2:]
    assert texts(columns.decode(batch), batch.strings) > 0
    del batch.strings[:]
    assert texts(columns.decode(batch), batch.strings) == 0
