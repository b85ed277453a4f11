"""A handshake without a tunnel: the agent reads the profile itself, and needs no helper and no privilege."""

import asyncio
import time

from sonde_agent.checks.base import Context
from sonde_agent.checks.connection.verdict import Course
from sonde_agent.net.handshake import probe
from sonde_agent.tunnel.client import TunnelError
from sonde_agent.tunnel.helper_request import DEFAULT_HANDSHAKE_MS, Refused, describe, judge
from sonde_agent.tunnel.helper_rules import Rules
from sonde_proto.v1 import control_pb2, tunnel_pb2


async def shake(task: control_pb2.Task, context: Context) -> tuple[Course, str]:
    """Shake hands once; give what was seen, and the server's address ("" = there was none).

    Raises:
        TunnelError: the profile or the account can't be used.
    """
    spec = task.connection
    request = tunnel_pb2.OpenTunnel(
        credential=spec.credential,
        profile=spec.profile,
        place=spec.place if spec.HasField("place") else None,
        family=spec.family,
    )
    try:
        order = await asyncio.to_thread(judge, request, context.rules)
    except Refused as refused:
        raise TunnelError(refused.failure, refused.detail) from None
    deadline = time.monotonic() + (spec.handshake_ms or DEFAULT_HANDSHAKE_MS) / 1000
    made = await probe(order.profile, order.secrets, spec.family, deadline, context.refuse)
    ended = tunnel_pb2.TunnelEnded(failure=made.failure, stage=made.stage, detail=made.detail)
    course = Course(protocol=order.profile.protocol, stages=made.stages, ended=ended, family=made.family)
    return course, made.address


async def key_id(credential: str, profile: str, rules: Rules) -> str:
    """Give what the key of a profile is known by; "" = the account's template.

    Raises:
        TunnelError: the profile can't be used.
    """
    wanted = tunnel_pb2.DescribeProfile(credential=credential, profile=profile)
    try:
        return (await asyncio.to_thread(describe, wanted, rules)).key_id
    except Refused as refused:
        raise TunnelError(refused.failure, refused.detail) from None
