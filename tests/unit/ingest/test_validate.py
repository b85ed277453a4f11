"""What a batch promises about itself, and what each row may hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.builders import Spool, arrive, endpoint, health, missed, performance, unlock

from sonde_collector.ingest.judge import explain, judge
from sonde_collector.ingest.merge import merge, strings
from sonde_collector.ingest.rules import RULES, Reason
from sonde_collector.ingest.tables import COLUMNS, TABLES, columns_of, places
from sonde_proto.columns import FIELDS, MalformedBatch
from sonde_proto.v1 import ingest_pb2, results_pb2

NOW_US = 1_800_000_000_000_000
DAY_US = 86_400_000_000
LOST = ingest_pb2.GAP_REASON_SPOOL_FULL


def reasons(*results: results_pb2.Result) -> list[str]:
    """What each result of one kind is rejected for; "accepted" where it is not."""
    arrivals = [arrive(Spool().batch(results), received_at_us=NOW_US)]
    (rows,) = merge(arrivals)
    verdict = judge(rows, strings(arrivals), np.array([NOW_US]), retention_us=30 * DAY_US)
    for row in np.flatnonzero(~verdict.accepted).tolist():
        assert explain(rows, row, verdict, strings(arrivals), NOW_US)
    return [Reason(int(reason)).name.lower() for reason in verdict.reason]


def test_rules_fields_and_columns_are_the_same_lists() -> None:
    """Every field of every kind has a rule, in order, and a table column; every kind has a table."""
    assert {kind: list(rules) for kind, rules in RULES.items()} == {
        kind: [field.name for field in fields] for kind, fields in FIELDS.items()
    }
    for kind, columns in COLUMNS.items():
        assert [column.field for column in columns if column.field] == [field.name for field in FIELDS[kind]]
    assert set(TABLES) == {*FIELDS, "held", "canary"}
    assert all(columns_of(table) for table in TABLES)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (performance(at_us=NOW_US), "accepted"),
        (performance(at_us=NOW_US + 10 * 60_000_000), "accepted"),
        (performance(at_us=NOW_US + 10 * 60_000_000 + 1), "from_the_future"),
        (performance(at_us=32_472_144_000_000_000), "from_the_future"),
        (performance(at_us=2**63 - 1), "from_the_future"),
        (performance(at_us=NOW_US - 30 * DAY_US), "accepted"),
        (performance(at_us=NOW_US - 30 * DAY_US - 1), "too_old"),
        (performance(at_us=0), "too_old"),
        (performance(at_us=-(2**63)), "too_old"),
        (performance(at_us=NOW_US, ping_ms=float("nan")), "accepted"),
        (performance(at_us=NOW_US, ping_ms=float("inf")), "not_finite"),
        (performance(at_us=NOW_US, rtt_max_ms=float("-inf")), "not_finite"),
        (performance(at_us=NOW_US, ping_ms=-0.001), "out_of_range"),
        (performance(at_us=NOW_US, packet_loss_pct=100), "accepted"),
        (performance(at_us=NOW_US, packet_loss_pct=100.004), "accepted"),
        (performance(at_us=NOW_US, packet_loss_pct=100.01), "out_of_range"),
        (performance(at_us=NOW_US, download_mbps=99_999.99), "accepted"),
        (performance(at_us=NOW_US, upload_mbps=100_000), "out_of_range"),
        (performance(at_us=NOW_US, ttl=256), "out_of_range"),
        (performance(at_us=NOW_US, family=5), "out_of_range"),
        (performance(at_us=NOW_US, failure=99), "unknown_enum"),
        (performance("", at_us=NOW_US), "missing_value"),
        (performance("a\0b", at_us=NOW_US), "text_has_nul"),
        (performance("x" * 513, at_us=NOW_US), "text_too_long"),
        (endpoint(at_us=NOW_US, overhead_ms=-0.5), "accepted"),
        (endpoint(at_us=NOW_US, kind=0), "unknown_enum"),
        (endpoint(at_us=NOW_US, cert_not_after_us=2**62), "out_of_range"),
        (endpoint(at_us=NOW_US, mismatch="\0"), "text_has_nul"),
        (endpoint(at_us=NOW_US, pop="x" * 256), "text_too_long"),
        (health(at_us=NOW_US), "accepted"),
        (missed(at_us=NOW_US), "accepted"),
        (missed(at_us=NOW_US, slots=0), "accepted"),
        (missed(at_us=NOW_US, task="\0"), "text_has_nul"),
        (unlock(at_us=NOW_US), "accepted"),
        (unlock("", at_us=NOW_US), "accepted"),
        (unlock(at_us=NOW_US, platform=""), "missing_value"),
        (unlock(at_us=NOW_US, platform="x" * 31), "text_too_long"),
        (unlock(at_us=NOW_US, verdict=0), "missing_value"),
        (unlock(at_us=NOW_US, verdict=0, failure=results_pb2.FAILURE_AUTH), "accepted"),
        (unlock(at_us=NOW_US, verdict=99), "unknown_enum"),
        (unlock(at_us=NOW_US, rule_version=""), "missing_value"),
        (unlock(at_us=NOW_US, rule_version="", verdict=results_pb2.VERDICT_NOT_CONFIGURED), "accepted"),
        (unlock(at_us=NOW_US, via=3), "unknown_enum"),
        (unlock(at_us=NOW_US, family=5), "out_of_range"),
        (unlock(at_us=NOW_US, evidence=""), "accepted"),
        (unlock(at_us=NOW_US, evidence='{"a": "' + "x" * 4087 + '"}'), "accepted"),
        (unlock(at_us=NOW_US, evidence='{"a": "' + "x" * 4088 + '"}'), "text_too_long"),
        (unlock(at_us=NOW_US, evidence='{"a": "' + "é" * 2044 + '"}'), "text_too_long"),
        (unlock(at_us=NOW_US, evidence="[1]"), "not_a_json_object"),
        (unlock(at_us=NOW_US, evidence='{"a": NaN}'), "not_a_json_object"),
        (unlock(at_us=NOW_US, evidence='{"a": 1e999}'), "not_a_json_object"),
        (unlock(at_us=NOW_US, evidence='{"a": "\\u0000"}'), "not_a_json_object"),
        (unlock(at_us=NOW_US, evidence='{"a": "\\\\u0000"}'), "accepted"),
        (unlock(at_us=NOW_US, evidence='{"a": "\\ud800"}'), "not_a_json_object"),
        (unlock(at_us=NOW_US, evidence='{"a": ' * 600 + "1" + "}" * 600), "text_too_long"),
        (unlock(at_us=NOW_US, evidence="[" * 4000), "not_a_json_object"),
    ],
)  # fmt: skip
def test_a_row_is_judged_by_itself(result: results_pb2.Result, reason: str) -> None:
    """Each limit holds to the last step inside it and rejects the first outside, by its reason."""
    assert reasons(result) == [reason]


@pytest.mark.parametrize("field", ["kind", "ok"])
def test_what_the_table_needs_must_be_set(field: str) -> None:
    """A result without a value that its table demands is a missing_value, whether or not others have it."""
    bare = endpoint(at_us=NOW_US)
    bare.endpoint.ClearField(field)  # type: ignore[arg-type]
    assert reasons(bare) == ["missing_value"]
    assert reasons(endpoint(at_us=NOW_US), bare) == ["accepted", "missing_value"]


def test_a_text_outside_the_dictionary_costs_its_row() -> None:
    """An index that names no string rejects the row, not its neighbours nor another batch's."""
    batch = Spool().batch([endpoint(at_us=NOW_US, pop="AMS"), endpoint(at_us=NOW_US, pop="FRA")])
    batch.endpoint.pop = np.array([len(batch.strings), -7], "<i4").tobytes()
    arrivals = [
        arrive(item, received_at_us=NOW_US) for item in (batch, Spool().batch([endpoint(at_us=NOW_US)]))
    ]
    (rows,) = merge(arrivals)
    verdict = judge(rows, strings(arrivals), np.array([NOW_US, NOW_US]), retention_us=DAY_US)
    assert [Reason(int(item)).name for item in verdict.reason] == ["TEXT_NOT_IN_DICTIONARY"] * 2 + [
        "ACCEPTED"
    ]


def test_batches_are_merged_without_mixing_their_dictionaries() -> None:
    """Rows of several batches keep their own texts, whichever columns each batch has."""
    parts = [
        [performance("s1", NOW_US), endpoint("t1", NOW_US, pop="AMS")],
        [endpoint("t2", NOW_US, answers="a")],
        [performance("s2", NOW_US, protocol="IKEv2")],
    ]
    arrivals = [arrive(Spool().batch(part), received_at_us=NOW_US) for part in parts]
    words = strings(arrivals)

    def texts(codes: object) -> list[str | None]:
        return [words[code] if code >= 0 else None for code in np.asarray(codes).tolist()]

    perf, ends = merge(arrivals)
    assert texts(perf.target) == ["s1", "s2"]
    assert texts(perf.columns["protocol"]) == [None, "IKEv2"]
    assert texts(ends.target) == ["t1", "t2"]
    assert texts(ends.columns["pop"]) == ["AMS", None]
    assert texts(ends.columns["answers"]) == [None, "a"]
    assert ends.columns["hops"] is None
    assert ends.batch.tolist() == [0, 1]


def test_every_row_has_one_place() -> None:
    """Unlock checks of servers and of the vantage itself part ways; nothing stands twice or nowhere."""
    not_ready = performance(at_us=NOW_US, quality=4)
    for results, tables in (
        ([performance(at_us=NOW_US), not_ready], {"performance": [0], "held": [1]}),
        ([unlock("s1", NOW_US), unlock("", NOW_US)], {"unlock": [0], "canary": [1]}),
        ([missed(at_us=NOW_US)], {"missed": [0]}),
    ):
        (rows,) = merge([arrive(Spool().batch(results), received_at_us=NOW_US)])
        assert {table: np.flatnonzero(mine).tolist() for table, mine in places(rows)} == tables


def gap(first: int, last: int, reason: ingest_pb2.GapReason.ValueType = LOST) -> ingest_pb2.Gap:
    """A declared gap."""
    return ingest_pb2.Gap(first_seq=first, last_seq=last, reason=reason)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"first_seq": 0}, "no range"),
        ({"first_seq": 4}, "no range"),
        ({"last_seq": 2**63}, "no range"),
        ({"last_seq": 4}, "neither a row nor in a gap"),
        ({"last_seq": 2}, "outside the batch"),
        ({"first_seq": 2}, "outside the batch"),
        ({"gaps": [gap(2, 2)]}, "has a row and is in a gap"),
        ({"last_seq": 5, "gaps": [gap(4, 6)]}, "outside"),
        ({"last_seq": 6, "gaps": [gap(5, 6), gap(4, 4)]}, "before the one before"),
        ({"last_seq": 5, "gaps": [gap(4, 5), gap(5, 5)]}, "inside or before"),
        ({"last_seq": 4, "gaps": [gap(4, 4, ingest_pb2.GAP_REASON_UNSPECIFIED)]}, "unknown reason"),
        ({"chain": b""}, "chain"),
        ({"database_id": b"x"}, "database_id"),
        ({"agent_version": "x" * 65}, "agent_version"),
        ({"agent_version": "\0"}, "agent_version"),
        ({"config_revision": 2**63}, "config_revision"),
    ],
)
def test_a_batch_that_contradicts_itself_is_malformed(changes: dict[str, object], words: str) -> None:
    """Ranges, gaps and header must agree with the rows; the message names what does not."""
    batch = Spool().batch([performance(), endpoint(), performance()])
    for name, value in changes.items():
        if name == "gaps":
            batch.gaps.extend(value)  # type: ignore[arg-type]
        else:
            setattr(batch, name, value)
    with pytest.raises(MalformedBatch, match=words):
        arrive(batch)


def test_a_seq_that_stands_twice_is_malformed() -> None:
    """The same seq in two kinds is named."""
    batch = Spool().batch([performance(), endpoint()])
    batch.endpoint.seq = batch.performance.seq
    with pytest.raises(MalformedBatch, match="seq 1 stands twice"):
        arrive(batch)


@given(st.lists(st.sampled_from(["performance", "endpoint", "unlock", "lost"]), min_size=1, max_size=40))
def test_any_mixture_of_rows_and_gaps_is_taken(kinds: list[str]) -> None:
    """Whatever the order of kinds and gaps, a batch whose every seq stands once is no MalformedBatch."""
    makers = {"performance": performance, "endpoint": endpoint, "unlock": unlock}
    items = [LOST if kind == "lost" else makers[kind](at_us=NOW_US) for kind in kinds]
    assert arrive(Spool().batch(items)).rows == len(kinds) - kinds.count("lost")
