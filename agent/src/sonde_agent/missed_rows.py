"""Rows that say what was not measured, and why. **Pure.**"""

from sonde_proto.v1 import results_pb2 as pb

ALL_TASKS = "*"
"""What a record of missed slots names when it is about the vantage and not about one task."""

_MOST_SLOTS = 2**31 - 1  # the column holds 32 bits, signed


def missed_row(
    task: str, target: str, reason: pb.MissReason.ValueType, *, slots: int, first_us: int, last_us: int
) -> pb.Result:
    """Give the row of some slots of one task that were not run."""
    row = pb.Result(measured_at_us=first_us, target=target)
    row.missed.task = task
    row.missed.reason = reason
    row.missed.slots = min(slots, _MOST_SLOTS)
    row.missed.until_us = last_us
    return row


def step_row(now_us: int, step_us: int) -> pb.Result:
    """Give the row of a step of the wall clock, from the earlier to the later time.

    Slots stand on BOOTTIME, so none is missed: slots is 0. The time from measured_at to until_us was skipped
    (stepped forward) or told twice (stepped back); a run that spans it is flagged CLOCK_STEPPED.
    """
    before_us = now_us - step_us
    return missed_row(
        ALL_TASKS,
        "",
        pb.MISS_REASON_CLOCK_STEP,
        slots=0,
        first_us=min(now_us, before_us),
        last_us=max(now_us, before_us),
    )
