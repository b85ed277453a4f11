"""What is taken in of an agent's word about itself. **Pure**."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from google.protobuf.message import Message

from sonde_proto.v1 import control_pb2

_T = TypeVar("_T", bound=Message)

MAX_BYTES = 256 << 10
"""Of one word. Most take some hundred bytes, and as many more for each task that is refused. [bytes]"""

_CAPABILITIES = 100
_WORD, _TEXT = 40, 2000  # characters
_ID = 16  # bytes
_FRAME_BYTES = 4  # that a message adds to one that holds it, at most


def bounded(state: control_pb2.AgentState) -> control_pb2.AgentState:
    """Give the word, cut where it is too large: texts, then answers and refused tasks."""
    if state.ByteSize() <= MAX_BYTES:
        return state
    cut = control_pb2.AgentState()
    cut.CopyFrom(state)
    cut.DiscardUnknownFields()
    for name in ("vantage", "agent_version", "reason", "last_error"):
        setattr(cut, name, getattr(state, name)[:_TEXT])
    for name in ("instance", "database_id"):
        setattr(cut, name, getattr(state, name)[:_ID])
    cut.ClearField("capabilities")
    cut.ClearField("runs")
    cut.ClearField("refused")
    cut.capabilities.extend(word[:_WORD] for word in state.capabilities[:_CAPABILITIES])
    # What is left out of the answers is said again in the next word, until it was heard.
    cut.runs.extend(_fitting(map(_answer, state.runs), MAX_BYTES - cut.ByteSize()))
    cut.refused.extend(_fitting(map(_refused, state.refused), MAX_BYTES - cut.ByteSize()))
    return cut


def _fitting(said: Iterable[_T], left: int) -> Iterator[_T]:
    """Give the first of them that fit into so many bytes."""
    for one in said:
        left -= one.ByteSize() + _FRAME_BYTES
        if left < 0:
            return
        yield one


def _answer(answer: control_pb2.RunAnswer) -> control_pb2.RunAnswer:
    return control_pb2.RunAnswer(
        id=answer.id[:_ID],
        task=answer.task[:_TEXT],
        outcome=answer.outcome,
        reason=answer.reason,
        detail=answer.detail[:_TEXT],
        epoch=answer.epoch[:_ID],
        seq=answer.seq,
    )


def _refused(refused: control_pb2.RefusedTask) -> control_pb2.RefusedTask:
    return control_pb2.RefusedTask(task=refused.task[:_TEXT], reason=refused.reason[:_TEXT])
