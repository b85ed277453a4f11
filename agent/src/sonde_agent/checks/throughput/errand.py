"""What every engine needs to begin: the job, where to, whether it may, and how to say that it could not."""

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

from sonde_agent.checks.base import Context
from sonde_agent.checks.endpoint.failures import End, classify
from sonde_agent.checks.throughput.pure import Plan
from sonde_agent.net.dial import Deadline
from sonde_agent.net.resolve import family_of, resolve
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb


@dataclass(frozen=True, slots=True)
class Job:
    """A run: what is asked for, and what the agent lends to it."""

    spec: control_pb2.ThroughputSpec
    plan: Plan
    context: Context
    deadline: Deadline


class Failed(Exception):
    """A direction gave no figures; `end` says why, `used_bytes` what it cost."""

    def __init__(self, end: End, used_bytes: int = 0) -> None:
        super().__init__(end.words)
        self.end, self.used_bytes = end, used_bytes


class Place(NamedTuple):
    """Where a direction goes: a name, the address of it that was chosen and allowed, and a port."""

    host: str
    address: str
    port: int

    @property
    def family(self) -> int:
        """4 or 6."""
        return family_of(self.address)


async def found(host: str, port: int, job: Job) -> Place:
    """The first address of a name, judged by the policy.

    Raises:
        Failed: it has none, or may not be measured.
    """
    family, deadline = job.spec.family, job.deadline
    try:
        if family_of(host):
            address = resolve(host, family, deadline).addresses[0]  # an address: nobody is asked
        else:
            address = (await asyncio.to_thread(resolve, host, family, deadline)).addresses[0]
    except OSError as error:
        end = classify(error, pb.STAGE_RESOLVE)
        if end is None:
            raise
        raise Failed(end) from None
    if reason := job.context.refuse(address, port):
        raise Failed(End(pb.FAILURE_POLICY, pb.STAGE_RESOLVE, reason))
    return Place(host, address, port)


def ours(words: str) -> Failed:
    """The task can't be run as it is written."""
    return Failed(End(pb.FAILURE_LOCAL, pb.STAGE_NONE, words))
