"""Which rows a task asks for, and those of rules that are not asked, by our own side's fault. **Pure.**"""

from datetime import UTC, datetime
from typing import NamedTuple

from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

LONGEST_DETAIL = 200
_US = 1_000_000


class Wanted(NamedTuple):
    """One row that a task asks for; version "" = that of this host's pack."""

    slug: str
    version: str
    family: int


def wanted(task: control_pb2.Task) -> list[Wanted]:
    """Give the rows that a task asks for, in its order, each once."""
    families = task.unlock.families or [4]
    rows = (Wanted(rule.slug, rule.version, family) for rule in task.unlock.rules for family in families)
    return list(dict.fromkeys(rows))


def unasked_row(one: Wanted, failure: pb.Failure.ValueType, detail: str) -> pb.Unlock:
    """Give the row of a rule that was not asked, and why."""
    row = pb.Unlock(platform=one.slug, family=one.family, failure=failure)
    if one.version:
        row.rule_version = one.version
    if detail:
        row.detail = detail[:LONGEST_DETAIL]
    return row


def held_row(one: Wanted, at_us: int, rest_s: float) -> pb.Unlock:
    """Give the row of a slot that passes while a rule rests."""
    until = datetime.fromtimestamp(at_us / _US + rest_s, UTC)
    detail = f"backing off until {until:%Y-%m-%d %H:%M} UTC: the platform said that it is asked too often"
    return unasked_row(one, pb.FAILURE_LOCAL, detail)
