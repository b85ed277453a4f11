"""What agents answer to operators' requests, as it is taken in and written."""

from uuid import UUID

from sonde_collector.control.run_requests import columns
from sonde_proto.v1 import control_pb2, results_pb2


def test_foreign_answers_are_bounded_to_what_the_columns_hold() -> None:
    """Endless text, zero bytes, a seq beyond BIGINT, an epoch that is none, a reason of a newer agent."""
    said = control_pb2.RunAnswer(
        outcome=control_pb2.RUN_OUTCOME_MISSED, detail="a\0b" * 1000, epoch=b"short", seq=2**64 - 1
    )
    plain = control_pb2.RunAnswer(
        outcome=control_pb2.RUN_OUTCOME_DONE, epoch=b"e" * 16, seq=7, reason=results_pb2.MISS_REASON_TOO_SOON
    )
    newer = control_pb2.RunAnswer.FromString(
        control_pb2.RunAnswer(outcome=control_pb2.RUN_OUTCOME_MISSED).SerializeToString() + b"\x20\x63"
    )
    out = columns(
        {(b"i" * 16, "ams1", "b"): said, (b"i" * 16, "ams1", "a"): plain, (b"i" * 16, "x", "c"): newer}
    )
    assert out["ids"] == [UUID(bytes=b"i" * 16)] * 3
    assert out["tasks"] == ["a", "b", "c"]
    assert out["outcomes"] == ["done", "missed", "missed"]
    assert out["reasons"] == ["too_soon", None, "reason 99"]
    assert out["epochs"] == [b"e" * 16, None, None]
    assert out["seqs"] == [7, 2**63 - 1, None]
    assert out["details"][0] is None
    assert len(out["details"][1]) == 500
    assert "\0" not in out["details"][1]
