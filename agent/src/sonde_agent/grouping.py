"""Which tasks become one run, and what that run is: pure.

Connection tasks of one group that open the same tunnel are run together when they are due together: one
session of the account, one row. What runs inside is then all that any of them asks for.
"""

import hashlib
from collections.abc import Sequence

from sonde_agent.task_bounds import MOST_TASK_MS
from sonde_proto.v1 import control_pb2

_ORDER = ("ping", "endpoint", "unlock", "throughput")
"""Of what runs inside: quiet things first."""
_SETTLE_S = {"OpenVPN-UDP": 6.0}
"""An OpenVPN server keeps a session for 5 s after the client's exit, in case its last packets come again."""


def run_key(task: control_pb2.Task) -> str:
    """Give the name of the runs of `task`: tasks with one name are run together."""
    if not task.group or not task.HasField("connection"):
        return task.key
    same = control_pb2.ConnectionSpec()
    same.CopyFrom(task.connection)
    for own in ("inside", "handshake_ms", "direct_throughput"):
        same.ClearField(own)
    digest = hashlib.sha256(same.SerializeToString(deterministic=True)).hexdigest()
    return f"{task.group} {task.target} {digest[:16]}"


def joined(tasks: Sequence[control_pb2.Task]) -> control_pb2.Task:
    """Give the one task that does what all of `tasks`, of one run key, ask for.

    Of several pings or transfers with the same target the most thorough is run.
    """
    whole = control_pb2.Task()
    whole.CopyFrom(tasks[0])
    if len(tasks) == 1:
        return whole
    whole.timeout_ms = min(sum(task.timeout_ms for task in tasks), MOST_TASK_MS)
    whole.connection.handshake_ms = max(task.connection.handshake_ms for task in tasks)
    whole.connection.direct_throughput = any(task.connection.direct_throughput for task in tasks)
    best: dict[bytes, control_pb2.Task] = {}
    for one in (inside for task in tasks for inside in task.connection.inside):
        name = _sameness(one)
        if name not in best or _effort(one) > _effort(best[name]):
            best[name] = one
    whole.connection.ClearField("inside")
    for number, one in enumerate(sorted(best.values(), key=_turn)):
        added = whole.connection.inside.add()
        added.CopyFrom(one)
        added.key = f"{one.key}#{number}"  # plans may have used one key twice
    return whole


def opens_tunnel(task: control_pb2.Task) -> bool:
    """Whether a run of `task` counts against the tunnels that this host may have at once."""
    return task.HasField("connection") and not task.connection.handshake_only


def loads(task: control_pb2.Task) -> list[control_pb2.Task]:
    """Give the transfers that a run of `task` makes, the direct ones too."""
    if task.HasField("throughput"):
        return [task]
    inside = [one for one in task.connection.inside if one.HasField("throughput")]
    return inside * (2 if task.connection.direct_throughput else 1)


def wants(task: control_pb2.Task, key_id: str) -> list[control_pb2.Want]:
    """Give what a run of `task` needs a lease of; none = it needs none.

    Args:
        task: what is to be run.
        key_id: of the profile's WireGuard key; "" = it has none.
    """
    found = []
    if task.HasField("connection"):
        found.append(control_pb2.Want(credential=task.connection.credential))
        if key_id:
            found.append(control_pb2.Want(key=key_id))
    if loads(task):
        found.append(control_pb2.Want(target=task.target))
    return found


def settle_s(task: control_pb2.Task) -> float:
    """Give how long the provider counts the session of `task` after its tunnel said goodbye [s]."""
    return _SETTLE_S.get(task.connection.protocol, 0.0)


def _turn(task: control_pb2.Task) -> int:
    kind = task.WhichOneof("spec") or ""
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _sameness(task: control_pb2.Task) -> bytes:
    """Give what makes two tasks inside one: a row has room for one ping and one transfer."""
    kind = task.WhichOneof("spec")
    if kind in ("endpoint", "unlock"):
        spec: bytes = getattr(task, kind).SerializeToString(deterministic=True)
        return task.target.encode() + b"\0" + spec
    return (kind or "").encode()


def _effort(task: control_pb2.Task) -> int:
    return task.ping.count or task.timeout_ms
