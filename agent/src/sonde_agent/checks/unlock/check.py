"""The check `unlock`: each rule over each family, one row each. What it takes is loaded at the first run."""

import asyncio
import time
from collections.abc import Sequence

import structlog

from sonde_agent.checks.base import Context
from sonde_agent.checks.unlock import resting
from sonde_agent.checks.unlock.packs import NoPack, Packs
from sonde_agent.checks.unlock.unasked import Wanted, held_row, unasked_row, wanted
from sonde_agent.net.resolve import host_lacks
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

EARLIER = 0.95
"""Our own deadline, as part of the runner's: what other rules gave is kept."""
NO_EXTRA = "this host lacks what unlock checks need: pip install 'sonde-agent[unlock]'"

log = structlog.get_logger()


class UnlockCheck:
    """Asks platforms what they make of the exit, by the rules of this host's own pack."""

    kind = "unlock"

    def __init__(self) -> None:
        self._packs = Packs()

    async def run(self, task: control_pb2.Task, context: Context) -> list[pb.Result]:
        """Measure once; one result for each rule and family, see `Check.run`."""
        at_us, ends = context.wall_us(), time.monotonic() + task.timeout_ms / 1000 * EARLIER
        rows: dict[Wanted, pb.Unlock] = {}
        for one in wanted(task):
            if rest_s := context.courtesy.rest_s(task.target, one.slug):
                rows[one] = held_row(one, at_us, rest_s)
            elif host_lacks(one.family):
                rows[one] = unasked_row(one, pb.FAILURE_UNSUPPORTED, f"no way out by IPv{one.family} here")
        told = await self._ask([one for one in wanted(task) if one not in rows], context, ends)
        resting.note(told.values(), task.target, context.courtesy)
        rows.update(told)
        return [pb.Result(measured_at_us=at_us, target=task.target, unlock=rows[one]) for one in wanted(task)]

    async def _ask(self, asked: Sequence[Wanted], context: Context, ends: float) -> dict[Wanted, pb.Unlock]:
        try:
            from sonde_agent.checks.unlock import asking  # noqa: PLC0415 -- only agents with the extra have it
        except ImportError as error:
            return _unsupported(asked, f"{NO_EXTRA} ({error})")
        try:
            pack = await asyncio.to_thread(self._packs.current, context.rules)
        except NoPack as none:
            return _unsupported(asked, str(none))
        told: dict[Wanted, pb.Unlock] = {}
        orders: list[Wanted] = []
        for one in asked:
            rule = pack.rules.get(one.slug)
            if rule is None:
                told |= _unsupported([one], f"pack {pack.version} has no rule {one.slug}")
            elif one.version not in ("", rule.version):
                mine = f"pack {pack.version} has {one.slug}@{rule.version}"
                told |= _unsupported([one], f"{mine}, and @{one.version} was asked for")
            else:
                orders.append(one)
        rules = [(pack.rules[one.slug], one.family) for one in orders]
        try:
            found = await asking.ask_all(rules, context, max(ends - time.monotonic(), 0.001))
        except (OSError, ValueError) as error:
            return {**told, **_unsupported(orders, f"certificate authorities: {error}")}
        return {**told, **{one: _row(one, result) for one, result in zip(orders, found, strict=True)}}

    def failed(
        self,
        task: control_pb2.Task,
        failure: pb.Failure.ValueType,
        stage: pb.Stage.ValueType,
        at_us: int,
    ) -> pb.Result:
        """The result of a run that ended before it could say anything itself: of its first rule. **Pure.**"""
        row = unasked_row(next(iter(wanted(task)), Wanted("", "", 4)), failure, "")
        row.stage = stage
        return pb.Result(measured_at_us=at_us, target=task.target, unlock=row)


def _unsupported(asked: Sequence[Wanted], detail: str) -> dict[Wanted, pb.Unlock]:
    return {one: unasked_row(one, pb.FAILURE_UNSUPPORTED, detail) for one in asked}


def _row(one: Wanted, found: pb.Unlock | Exception) -> pb.Unlock:
    if isinstance(found, TimeoutError):
        return unasked_row(one, pb.FAILURE_LOCAL, "the time of the run was over before it was asked")
    if isinstance(found, Exception):
        log.warning("rule_broke", rule=one.slug, exc_info=found)
        return unasked_row(one, pb.FAILURE_INTERNAL, f"the rule broke the check: {type(found).__name__}")
    return found
