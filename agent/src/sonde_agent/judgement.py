"""Which tasks of an assignment this agent runs, and why not the others: policy, limits, host. **Pure.**"""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from sonde_agent.allowance import Demand
from sonde_agent.limits import Limits
from sonde_agent.policy import Policy
from sonde_agent.task_bounds import LONGEST_NAME, shown
from sonde_proto.v1 import control_pb2

MOST_TOLD = 200
"""Refusals that are told one by one: each word to the collector holds them."""


class Judged(NamedTuple):
    """An assignment, sorted out: by their keys the tasks that may run, and why the others may not."""

    allowed: Mapping[str, control_pb2.Task]
    refused: Mapping[str, str]

    def told(self) -> list[control_pb2.RefusedTask]:
        """Give the refusals as the collector is told them."""
        told = [
            control_pb2.RefusedTask(task=key, reason=why)
            for key, why in islice(self.refused.items(), MOST_TOLD)
        ]
        if (more := len(self.refused) - len(told)) > 0:
            told.append(control_pb2.RefusedTask(reason=f"and {more} more"))
        return told


class Judge:
    """What an assignment is held against.

    Args:
        kinds: what this agent can measure.
        credentials: names of the accounts that this host has.
        limits: how much an assignment may ask for.
    """

    def __init__(self, kinds: Collection[str], credentials: Collection[str], limits: Limits) -> None:
        self._kinds = kinds
        self._credentials = credentials
        self._limits = limits

    def judge(self, tasks: Sequence[control_pb2.Task], policy: Policy) -> Judged:
        """Sort out what may run. Of two tasks with one key the first may."""
        allowed: dict[str, control_pb2.Task] = {}
        refused: dict[str, str] = {}
        demand = Demand(self._limits)
        for task in tasks:
            key = shown(task.key, LONGEST_NAME)
            if task.key in allowed or key in refused:
                refused.setdefault(f"{key} (again)", "another task of the assignment has this key")
            elif reason := self._refuse(task, policy) or demand.refuse(task):
                refused[key] = reason
            else:
                allowed[task.key] = task
        return Judged(allowed, refused)

    def _refuse(self, task: control_pb2.Task, policy: Policy) -> str | None:
        kind = task.WhichOneof("spec")
        if kind is None or kind not in self._kinds:
            return "this agent is too old for this kind of check"
        if not task.key:
            return "it has no key"
        if task.interval_ms < 1 or task.timeout_ms < 1:
            return "interval and timeout must be at least 1 ms"
        name = task.connection.credential
        if kind == "connection" and name not in self._credentials:
            return f"this agent's configuration has no [credential.{shown(name)}]"
        return policy.refuse_task(task)
