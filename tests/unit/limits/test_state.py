"""An agent's word about itself: what is usual stays as it is, what is huge is cut."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sonde_collector.limits.state import MAX_BYTES, bounded
from sonde_proto.v1 import control_pb2

texts = st.sampled_from(["", "word", "ß" * 3000, "x" * 70_000])


def test_a_usual_word_stays() -> None:
    """A thousand refused tasks with a reason are said as they came."""
    state = control_pb2.AgentState(vantage="ams1", capabilities=["ping4"], spool_oldest_us=1)
    for number in range(1000):
        state.refused.add(task=f"plan/{number}", reason="policy: address 10.0.0.1 is private" * 3)
    assert bounded(state) is state


@settings(max_examples=50)
@given(texts, texts, st.integers(0, 3000), st.integers(0, 2000), st.none() | st.integers(-5, 5))
def test_a_huge_word_is_cut_to_its_bound(
    text: str, other: str, words: int, refused: int, offset: int | None
) -> None:
    """It holds to the bound, and who it is, its revision and its clock are as they were said."""
    state = control_pb2.AgentState(
        vantage="ams1", reason=text, last_error=other, revision=7, sent_at_us=9, ready=True,
        instance=b"i" * 16, database_id=b"d" * 16, clock_offset_us=offset,
    )  # fmt: skip
    state.capabilities.extend([text] * min(words, 40) + ["ping4"] * words)
    for _ in range(min(refused, 40)):
        state.refused.add(task=other, reason=text)
        state.runs.add(id=b"r" * 16, task="plan/s1", detail=text, epoch=b"e" * 16, seq=7)
    for _ in range(refused):
        state.refused.add(task="plan/s1", reason="reason " * 20)
        state.runs.add(id=b"r" * 16, task="plan/s1", detail="detail", epoch=b"e" * 16, seq=7)
    cut = bounded(state)
    assert cut.ByteSize() <= MAX_BYTES
    for name in ("vantage", "revision", "sent_at_us", "ready", "instance", "database_id", "clock_offset_us"):
        assert getattr(cut, name) == getattr(state, name)
    assert cut.HasField("clock_offset_us") == (offset is not None)
    assert len(cut.refused) <= len(state.refused)
    assert len(cut.runs) <= len(state.runs)
    assert all(
        (one.id, one.task, one.epoch, one.seq) == (b"r" * 16, "plan/s1", b"e" * 16, 7) for one in cut.runs
    )
