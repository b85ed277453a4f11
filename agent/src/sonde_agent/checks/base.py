"""What every kind of check offers to the runner, and what the runner lends to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sonde_agent.checks.unlock.courtesy import Courtesy
from sonde_agent.net.icmp import Engines
from sonde_agent.net.own_address import OwnAddress
from sonde_agent.tunnel.client import Tunnels
from sonde_agent.tunnel.helper_rules import Rules
from sonde_proto.v1 import control_pb2, results_pb2


class CheckImpossible(Exception):
    """This host can't run the check at all; never the target's fault.

    The runner makes FAILURE_UNSUPPORTED of it, and its text is for a person: what is missing and how
    to mend it. Any other exception out of `Check.run` is a defect: FAILURE_INTERNAL.
    """


def wall_us() -> int:
    """UTC now, microseconds since 1970."""
    return time.time_ns() // 1000


def permit_all(_place: str, _port: int | None) -> str | None:
    """The policy of a run by hand: whoever can type the command may send the packets."""
    return None


def _tell_nobody(_line: str) -> None:
    """Most runs are watched by nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What the agent lends to a run.

    Attributes:
        icmp: the ICMP engines, one a family, shared by all runs; opened when first asked for.
        refuse: why this agent's policy forbids an address and port (None for ICMP), in words for a
            person, or None where it allows them. A check asks it for every address that a name gave,
            just before the first packet: the name alone proves nothing.
        wall_us: UTC now, microseconds since 1970.
        refuse_name: the same of a host name and port, before it is looked up.
        tunnels: where tunnels come from; None = this run may open none.
        rules: what this host has for checks beyond addresses: accounts, for handshakes without a tunnel, and
            where unlock rules are.
        own_address: under which address the world sees this host without a tunnel.
        exit_address: under which the world sees this run; "" = unknown.
        courtesy: what platforms may expect of this host, over all runs.
        progress: takes one line on how far a run has come, for whoever watches it.
        watch: takes each exchange of an unlock check, scrubbed; None = nobody watches.
    """

    icmp: Engines
    refuse: Callable[[str, int | None], str | None] = permit_all
    wall_us: Callable[[], int] = wall_us
    refuse_name: Callable[[str, int | None], str | None] = permit_all
    tunnels: Tunnels | None = None
    rules: Rules = field(default_factory=Rules)
    own_address: OwnAddress = field(default_factory=OwnAddress)
    exit_address: str = ""
    courtesy: Courtesy = field(default_factory=Courtesy)
    progress: Callable[[str], None] = _tell_nobody
    watch: Callable[[Mapping[str, Any]], None] | None = None


class Check(Protocol):
    """One kind of check. It holds no state between runs, and many runs go on at once."""

    @property
    def kind(self) -> str:
        """Its name in `Task.spec` and in `KINDS`."""

    async def run(self, task: control_pb2.Task, context: Context) -> list[results_pb2.Result]:
        """Measures once.

        A target's failure is data: it comes back as a result with failure and stage. The runner bounds
        the time by cancelling; a check then only has to leave nothing open.

        Returns:
            One result for each thing measured (an endpoint with several addresses yields several), each
            with target, payload and measured_at_us = start of the run.

        Raises:
            CheckImpossible: this host lacks what the check needs.
        """

    def failed(
        self,
        task: control_pb2.Task,
        failure: results_pb2.Failure.ValueType,
        stage: results_pb2.Stage.ValueType,
        at_us: int,
    ) -> results_pb2.Result:
        """The result of a run that ended before it could say anything itself. **Pure.**

        Args:
            task: what was to be measured.
            failure: why it ended, e.g. FAILURE_TIMEOUT where the runner's deadline passed.
            stage: how far it came; STAGE_NONE where nobody knows.
            at_us: when the run began [UTC µs].
        """
