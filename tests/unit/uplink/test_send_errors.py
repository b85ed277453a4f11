"""The table of send errors, against gRPC's list and the comment in ingest.proto."""

import re
from pathlib import Path

import grpc
import pytest

import sonde_proto
from sonde_agent.uplink.send_errors import ACTIONS, Action

PROTO = Path(sonde_proto.__file__).parent / "v1" / "ingest.proto"
WORDS = {
    "retry with back-off": Action.RETRY,
    "wait": Action.WAIT,
    "fenced": Action.WAIT,
    "first_seq is not": Action.RESYNC,
    "the vantage is not in the inventory yet: wait": Action.WAIT,
    "a batch is malformed": Action.QUARANTINE,
    "the identity is not accepted": Action.RE_ENROL,
    "this spool is a copy": Action.STOP,
    "the collector is too old: wait": Action.WAIT,
}


def test_every_status_has_a_row() -> None:
    """No status that gRPC knows is without an action."""
    assert set(ACTIONS) == set(grpc.StatusCode)


def documented() -> list[tuple[str, str]]:
    """(status, words) as ingest.proto lists them."""
    text = PROTO.read_text(encoding="utf-8").split("Statuses that end the RPC")[1].split("syntax")[0]
    rows = re.findall(r"^//   ([A-Z_, ]+?)\s{2,}(.+)$", text, re.MULTILINE)
    return [(status, words) for names, words in rows for status in names.split(", ")]


@pytest.mark.parametrize(("status", "words"), documented())
def test_table_is_what_the_proto_says(status: str, words: str) -> None:
    """The agent does what ingest.proto tells the world that it does."""
    meant = next(action for start, action in WORDS.items() if words.startswith(start))
    assert ACTIONS[grpc.StatusCode[status]] is meant


def test_the_proto_names_all_that_matter() -> None:
    """The walk above found the comment's rows."""
    assert len(documented()) == 14
