"""The explicit list of what this agent can measure: one line a kind."""

from collections.abc import Mapping

from sonde_agent.checks.base import Check
from sonde_agent.checks.connection.check import ConnectionCheck
from sonde_agent.checks.endpoint.check import EndpointCheck
from sonde_agent.checks.ping.check import PingCheck
from sonde_agent.checks.throughput.check import ThroughputCheck
from sonde_agent.checks.unlock.check import UnlockCheck

_PING, _THROUGHPUT = PingCheck(), ThroughputCheck()
_CHECKS: tuple[Check, ...] = (
    _PING,
    EndpointCheck(),
    _THROUGHPUT,
    ConnectionCheck(ping=_PING, throughput=_THROUGHPUT),
    UnlockCheck(),
)

KINDS: Mapping[str, Check] = {check.kind: check for check in _CHECKS}
"""The name of the field in `Task.spec` -> the check that runs it."""
