"""What is taken in of an agent's word about itself. **Pure**."""

from sonde_proto.v1 import control_pb2

MAX_BYTES = 256 << 10
"""Of one word. Most take some hundred bytes, and as many more for each task that is refused. [bytes]"""

_CAPABILITIES = 100
_WORD, _TEXT = 40, 2000  # characters
_FRAME_BYTES = 4  # that a message adds to one that holds it, at most


def bounded(state: control_pb2.AgentState) -> control_pb2.AgentState:
    """Give the word, cut where it is too large: the texts first, then the refused tasks that don't fit."""
    if state.ByteSize() <= MAX_BYTES:
        return state
    cut = control_pb2.AgentState(
        vantage=state.vantage[:_TEXT],
        agent_version=state.agent_version[:_TEXT],
        instance=state.instance[:16],
        revision=state.revision,
        database_id=state.database_id[:16],
        sent_at_us=state.sent_at_us,
        started_at_us=state.started_at_us,
        ready=state.ready,
        reason=state.reason[:_TEXT],
        spool_rows=state.spool_rows,
        spool_bytes=state.spool_bytes,
        last_error=state.last_error[:_TEXT],
    )
    for name in ("clock_offset_us", "spool_oldest_us"):
        if state.HasField(name):
            setattr(cut, name, getattr(state, name))
    cut.capabilities.extend(word[:_WORD] for word in state.capabilities[:_CAPABILITIES])
    left = MAX_BYTES - cut.ByteSize()
    for refused in state.refused:
        short = control_pb2.RefusedTask(task=refused.task[:_TEXT], reason=refused.reason[:_TEXT])
        left -= short.ByteSize() + _FRAME_BYTES
        if left < 0:
            break
        cut.refused.append(short)
    return cut
