"""A 429 makes a rule rest for that exit: its next slots yield rows without a verdict that say so."""

import json
from collections.abc import Iterable, Iterator

from sonde_agent.checks.unlock.courtesy import Courtesy
from sonde_agent.checks.unlock.unasked import held_row, wanted
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb


def hold(
    tasks: Iterable[control_pb2.Task], target: str, courtesy: Courtesy, at_us: int
) -> tuple[list[control_pb2.Task], list[pb.Unlock]]:
    """Take the rules that rest for `target` out of unlock tasks; give what is left, and the rows of the rest.

    A task is left out when nothing of it is left.
    """
    left: list[control_pb2.Task] = []
    rows: list[pb.Unlock] = []
    for task in tasks:
        if not task.HasField("unlock"):
            left.append(task)
            continue
        rests = {rule.slug: courtesy.rest_s(target, rule.slug) for rule in task.unlock.rules}
        rows += [held_row(one, at_us, rests[one.slug]) for one in wanted(task) if rests[one.slug]]
        reduced = control_pb2.Task()
        reduced.CopyFrom(task)
        del reduced.unlock.rules[:]
        reduced.unlock.rules.extend(rule for rule in task.unlock.rules if not rests[rule.slug])
        if reduced.unlock.rules:
            left.append(reduced)
    return left, rows


def note(rows: Iterable[pb.Unlock], target: str, courtesy: Courtesy) -> None:
    """Let the rows of a run begin or end the rest of their rules."""
    for slug, told in _by_rule(rows):
        limited = [row for row in told if row.verdict == pb.VERDICT_RATE_LIMITED]
        retry_after_s = max((_retry_after_s(row) for row in limited), default=0.0)
        courtesy.note(target, slug, rate_limited=bool(limited), retry_after_s=retry_after_s)


def _by_rule(rows: Iterable[pb.Unlock]) -> Iterator[tuple[str, list[pb.Unlock]]]:
    told: dict[str, list[pb.Unlock]] = {}
    for row in rows:
        if row.HasField("verdict"):
            told.setdefault(row.platform, []).append(row)
    yield from told.items()


def _retry_after_s(row: pb.Unlock) -> float:
    try:
        return float(json.loads(row.evidence or "{}").get("retry_after_s", 0.0))
    except (ValueError, TypeError, AttributeError):
        return 0.0
