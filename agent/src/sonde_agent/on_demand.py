"""Runs that a person asks for: what is taken on, and what became of each. Pure decisions.

The collector's every word names the requests that are open, each with the tasks that lack an answer. A task
of a request is taken on once, however often it is named; its answer is said until it is named no more. So
either side may miss any word, and a collector that stops or an agent that starts anew loses nothing: what has
no answer is named, and run, again.

A request can only name tasks that the assignment in force holds, in the revision that it was asked of. And a
collector can't make it a flood: a task is run on demand at most once in LEAST_NS, and no more than MOST_OPEN
wait at once.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sonde_proto.v1 import control_pb2, results_pb2

LEAST_NS = 10_000_000_000
"""Between two runs of one task on demand: a tenth of what a collector may have by a schedule anyway."""
LONGEST_NS = 3_600_000_000_000
"""A request is over after this, whatever it says."""
MOST_REQUESTS = 8
"""Remembered at once; more are not taken on."""
MOST_OPEN = 1000
"""Tasks that wait or run at once; more are not taken on until some have ended."""

_ID_BYTES = 16
_LONGEST_KEY = 512  # plan, target and way have 100 characters each at most
_REMEMBER_NS = 30_000_000_000  # after its end, so that the last answers are still said
_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One task of one request.

    Attributes:
        request: its id.
        task: the task's key.
        deadline_ns: what has not begun by then does not [BOOTTIME].
    """

    request: bytes
    task: str
    deadline_ns: int


@dataclass(slots=True)
class _Request:
    deadline_ns: int
    named: frozenset[str] = frozenset()
    open: dict[str, Asked] = field(default_factory=dict)
    answers: dict[str, control_pb2.RunAnswer] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Assigned:
    """What this agent may run now.

    Attributes:
        revision: of the assignment in force.
        tasks: keys of its tasks that are allowed.
        refused: key -> why not, of the others.
        paused: why nothing is measured, in words; "" = it is.
    """

    revision: int
    tasks: Collection[str]
    refused: Mapping[str, str]
    paused: str = ""


def is_too_soon(last_ns: int | None, now_ns: int) -> bool:
    """Whether a task that was last taken on at `last_ns` may not be again."""
    return last_ns is not None and now_ns - last_ns < LEAST_NS


class OnDemand:
    """The requests that are known, and the answers to them."""

    def __init__(self) -> None:
        self._requests: dict[bytes, _Request] = {}
        self._last_ns: dict[str, int] = {}

    def take(
        self, requests: Sequence[control_pb2.RunRequest], assigned: Assigned, now_ns: int
    ) -> list[Asked]:
        """Take in what the collector's word names; give what is to run now, each once.

        Args:
            requests: all that are open, with the tasks that lack an answer.
            assigned: what may run.
            now_ns: BOOTTIME.
        """
        self._forget(now_ns)
        for known in self._requests.values():
            known.named = frozenset()
        taken: list[Asked] = []
        for said in requests:
            request = self._requests.get(said.id) or self._begin(said, now_ns)
            if request is None or said.revision > assigned.revision:
                continue  # the tasks that it means are on their way
            named = [task for task in said.tasks[:MOST_OPEN] if len(task) <= _LONGEST_KEY]
            request.named = frozenset(named)
            for task in named:
                if task in request.open or task in request.answers:
                    continue
                if self.open() >= MOST_OPEN or request.deadline_ns <= now_ns:
                    break
                asked = Asked(said.id, task, request.deadline_ns)
                request.open[task] = asked
                if (answer := self._refusal(task, said.revision, assigned, now_ns)) is None:
                    self._last_ns[task] = now_ns
                    taken.append(asked)
                else:
                    self._answer(asked, answer)
        return taken

    def is_open(self, asked: Asked) -> bool:
        """Whether it waits or runs."""
        request = self._requests.get(asked.request)
        return request is not None and asked.task in request.open

    def open(self) -> int:
        """How many tasks wait or run."""
        return sum(len(request.open) for request in self._requests.values())

    def ran(self, asked: Asked, failure: str, epoch: bytes, seq: int) -> None:
        """Say that it ran, and where its results are.

        Args:
            asked: what.
            failure: of the first result that has one, in words; "" = none has.
            epoch: of the spool that holds them.
            seq: of the last of them.
        """
        outcome = control_pb2.RUN_OUTCOME_FAILED if failure else control_pb2.RUN_OUTCOME_DONE
        self._answer(asked, control_pb2.RunAnswer(outcome=outcome, detail=failure, epoch=epoch, seq=seq))

    def missed(self, asked: Asked, reason: results_pb2.MissReason.ValueType, detail: str = "") -> None:
        """Say that it did not run, and why."""
        self._answer(asked, _missed(reason, detail))

    def gone(self, tasks: Collection[str], running: Iterable[Asked | None]) -> None:
        """Say that these tasks are no longer what was asked for, of what does not run already."""
        under_way = frozenset(running)
        for request in self._requests.values():
            for asked in [one for one in request.open.values() if one.task in tasks]:
                if asked not in under_way:
                    self._answer(asked, _GONE)

    def answers(self) -> list[control_pb2.RunAnswer]:
        """Give all that is known of what the collector's last word named."""
        return [
            answer
            for request in self._requests.values()
            for task, answer in request.answers.items()
            if task in request.named
        ]

    def _begin(self, said: control_pb2.RunRequest, now_ns: int) -> _Request | None:
        if not said.left_ms or len(said.id) != _ID_BYTES or len(self._requests) >= MOST_REQUESTS:
            return None
        request = _Request(now_ns + min(said.left_ms * _NS_PER_MS, LONGEST_NS))
        self._requests[said.id] = request
        return request

    def _refusal(
        self, task: str, revision: int, assigned: Assigned, now_ns: int
    ) -> control_pb2.RunAnswer | None:
        if revision != assigned.revision:
            return _GONE
        if (reason := assigned.refused.get(task)) is not None:
            return control_pb2.RunAnswer(outcome=control_pb2.RUN_OUTCOME_REFUSED, detail=reason)
        if task not in assigned.tasks:
            return _GONE
        if assigned.paused:
            return _missed(results_pb2.MISS_REASON_PAUSED, assigned.paused)
        if is_too_soon(self._last_ns.get(task), now_ns):
            return _missed(results_pb2.MISS_REASON_TOO_SOON, "")
        return None

    def _answer(self, asked: Asked, answer: control_pb2.RunAnswer) -> None:
        request = self._requests.get(asked.request)
        if request is None or request.open.pop(asked.task, None) is None:
            return
        said = control_pb2.RunAnswer(id=asked.request, task=asked.task)
        said.MergeFrom(answer)
        request.answers[asked.task] = said

    def _forget(self, now_ns: int) -> None:
        over = [
            key
            for key, one in self._requests.items()
            if not one.open and one.deadline_ns + _REMEMBER_NS < now_ns
        ]
        for key in over:
            del self._requests[key]
        self._last_ns = {task: at for task, at in self._last_ns.items() if is_too_soon(at, now_ns)}


_GONE = control_pb2.RunAnswer(
    outcome=control_pb2.RUN_OUTCOME_GONE, detail="the agent's assignment is another one than was asked of"
)


def _missed(reason: results_pb2.MissReason.ValueType, detail: str) -> control_pb2.RunAnswer:
    return control_pb2.RunAnswer(outcome=control_pb2.RUN_OUTCOME_MISSED, reason=reason, detail=detail)
