"""The words of the language are those of the wire, and of the grammar."""

from typing import Any

from sonde_proto.v1 import results_pb2
from sonde_unlock.cassette import ERRORS, FaultKind
from sonde_unlock.exchange import Error
from sonde_unlock.regions import ALPHA3, REGIONS
from sonde_unlock.verdict import Level, Verdict


def words(enum: Any, prefix: str) -> list[str]:
    """Return an enum's names in the order of their numbers, without its prefix and its zero."""
    names = [
        value.name for value in sorted(enum.DESCRIPTOR.values, key=lambda value: value.number) if value.number
    ]
    return [name.removeprefix(prefix).lower() for name in names]


def test_verdicts_are_those_of_the_wire() -> None:
    """Each verdict stands in both lists, in the same order."""
    assert words(results_pb2.Verdict, "VERDICT_") == list(Verdict)


def test_levels_are_those_of_the_wire() -> None:
    """Each level of evidence stands in both lists, weakest first."""
    assert words(results_pb2.EvidenceLevel, "EVIDENCE_LEVEL_") == [level.replace("-", "_") for level in Level]


def test_each_fault_is_an_error_or_a_cut_body() -> None:
    """A fault of a cassette is one of the errors that a transport tells; truncated alone is an answer."""
    assert set(ERRORS) | {FaultKind.TRUNCATED} == set(FaultKind)
    assert set(ERRORS.values()) <= set(Error)


def test_countries_are_249_and_kosovo() -> None:
    """Two letters and three for each, none twice."""
    assert len(REGIONS) == len(ALPHA3) == 250
    assert all(len(two) == 2 and len(three) == 3 for three, two in ALPHA3.items())
    assert {ALPHA3["GBR"], ALPHA3["DEU"], ALPHA3["JPN"], ALPHA3["NLD"]} == {"GB", "DE", "JP", "NL"}
