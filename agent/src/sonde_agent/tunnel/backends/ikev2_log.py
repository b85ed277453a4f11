"""What charon logs while it connects: stages, what was assigned, and why it fails. **Pure.**

The lines are of strongSwan 5.9 at level 1.
"""

import errno
import os
import re
from collections.abc import Callable

from sonde_agent.tunnel.backends.base import TunnelFailed
from sonde_proto.v1 import results_pb2 as pb

_SENDS = "sending packet: from"
_OVER = tuple(
    (re.compile(words), stage)
    for words, stage in (
        # what is said when a stage ends
        (r"received packet: from", pb.STAGE_TRANSPORT),
        (r"generating IKE_AUTH request 1 ", pb.STAGE_HANDSHAKE),
        (r"IKE_SA \S+ established between", pb.STAGE_AUTH),
        (r"CHILD_SA \S+ established with SPIs", pb.STAGE_CONFIGURED),
    )
)
_ADDRESS = re.compile(r"installing new virtual IP (\S+)")
_RESOLVER = re.compile(r"installing DNS server (\S+)")
_COOKIE = "N(COOKIE)"
_DOUBT = re.compile(
    r"(subject certificate invalid .*|certificate was revoked .*|no issuer certificate found .*"
    r"|signature validation failed.*|(?:constraint|certificate policy).* failed.*)"
)
"""Why a certificate is not believed; another one of the chain still may be."""

_FAILURES = tuple(
    (re.compile(words), failure, stage, detail)
    for words, failure, stage, detail in (
        # what it says, failure, stage (NONE = the one that is going on), detail with the first group
        (
            r"(no trusted .*public key found for .*)|(constraint checking failed, no alternative config.*)",
            pb.FAILURE_CERTIFICATE,
            pb.STAGE_AUTH,
            "the server's certificate is refused: {0}",
        ),
        (
            r"EAP-MS-CHAPv2 failed with error (\w+)",
            pb.FAILURE_AUTH,
            pb.STAGE_AUTH,
            "the server refuses the account: {0}",
        ),
        (
            r"received (EAP_FAILURE|AUTHENTICATION_FAILED)",
            pb.FAILURE_AUTH,
            pb.STAGE_AUTH,
            "the server refuses the account: {0}",
        ),
        (
            r"(EAP method .* not supported|requested EAP method unknown|loading EAP_\w+ method failed)",
            pb.FAILURE_PROTOCOL,
            pb.STAGE_AUTH,
            "the server asks for an EAP method that takes more than a password",
        ),
        (
            r"received (?:INTERNAL_ADDRESS_FAILURE|FAILED_CP_REQUIRED) notify",
            pb.FAILURE_NO_ADDRESS,
            pb.STAGE_CONFIGURED,
            "the server assigned no address",
        ),
        (
            r"received (\w+) notify, no CHILD_SA built",
            pb.FAILURE_PROTOCOL,
            pb.STAGE_CONFIGURED,
            "the server makes no tunnel: {0}",
        ),
        (
            r"received (\w+) notify error|received (proposals? (?:not acceptable|inacceptable))",
            pb.FAILURE_PROTOCOL,
            pb.STAGE_NONE,
            "the server answers with {0}",
        ),
        (
            r"(IKE_SA_INIT response with message ID .* processing failed|received unexpected .*payload.*)",
            pb.FAILURE_PROTOCOL,
            pb.STAGE_NONE,
            "what answers speaks no IKEv2 that can be understood",
        ),
    )
)
_NEXT = {
    pb.STAGE_TRANSPORT: pb.STAGE_HANDSHAKE,
    pb.STAGE_HANDSHAKE: pb.STAGE_AUTH,
    pb.STAGE_AUTH: pb.STAGE_CONFIGURED,
    pb.STAGE_CONFIGURED: pb.STAGE_TRANSFER,
}
_WAITED = {
    pb.STAGE_TRANSPORT: "no answer",
    pb.STAGE_HANDSHAKE: "the server answers, but the key exchange does not end",
    pb.STAGE_AUTH: "the key exchange is over, but the server neither accepts nor refuses",
    pb.STAGE_CONFIGURED: "the account is accepted, but no tunnel is made",
}


class ConnectionLog:
    """One connection, from the first packet to the CHILD_SA.

    Args:
        stage: told as each stage ends, with how long it took [ms].

    Attributes:
        addresses: ours inside, with prefix length.
        dns: resolvers inside.
        failed: why it does not come up.
    """

    def __init__(self, stage: Callable[[pb.Stage.ValueType, float], None]) -> None:
        self.addresses: list[str] = []
        self.dns: list[str] = []
        self.failed: TunnelFailed | None = None
        self._tell = stage
        self._going_on: pb.Stage.ValueType = pb.STAGE_TRANSPORT
        self._since: float | None = None
        self._doubt = ""
        self._cookie = False

    def hear(self, message: str, at: float) -> None:
        """Take one line.

        Args:
            message: what charon says.
            at: when [s, monotonic].
        """
        if message.startswith(_SENDS):
            self._since = at if self._since is None else self._since
        elif address := _ADDRESS.match(message):
            self.addresses.append(f"{address[1]}/{128 if ':' in address[1] else 32}")
        elif resolver := _RESOLVER.match(message):
            self.dns.append(resolver[1])
        elif doubt := _DOUBT.search(message):
            self._doubt = doubt[1]
        elif stage := next((stage for pattern, stage in _OVER if pattern.match(message)), None):
            self._over(stage, at)
        else:
            self._cookie = self._cookie or _COOKIE in message
            self._trouble(message)

    def ended(self, answers: int, code: int) -> TunnelFailed:
        """Say why it did not come up although its time is over, or it gave up.

        Args:
            answers: datagrams that came back.
            code: errno that the network answered with, or 0.
        """
        stage = self._going_on
        if stage == pb.STAGE_TRANSPORT and code == errno.ECONNREFUSED:
            return self._fail(pb.FAILURE_REFUSED, stage, "the port is closed")
        if stage == pb.STAGE_TRANSPORT and code:
            return self._fail(pb.FAILURE_UNREACHABLE, stage, os.strerror(code))
        if stage == pb.STAGE_TRANSPORT and answers:
            return self._fail(pb.FAILURE_PROTOCOL, stage, "what answers is no IKEv2")
        if stage == pb.STAGE_HANDSHAKE and self._cookie:
            return self._fail(pb.FAILURE_BUSY, stage, "the server only sends cookies: it is under load")
        return self._fail(pb.FAILURE_TIMEOUT, stage, _WAITED.get(stage, "it does not come up"))

    def _trouble(self, message: str) -> None:
        for pattern, failure, stage, detail in _FAILURES:
            if match := pattern.search(message):
                words = next((group for group in match.groups(default="") if group), "")
                doubt = self._doubt if failure == pb.FAILURE_CERTIFICATE else ""
                self._fail(failure, stage or self._going_on, detail.format(doubt or words))
                return

    def _over(self, stage: pb.Stage.ValueType, at: float) -> None:
        """End `stage` and those before it."""
        while self._going_on <= stage:
            since = at if self._since is None else self._since
            self._tell(self._going_on, (at - since) * 1e3)
            self._going_on, self._since = _NEXT[self._going_on], at

    def _fail(self, failure: pb.Failure.ValueType, stage: pb.Stage.ValueType, detail: str) -> TunnelFailed:
        """Keep the first reason: later ones follow from it."""
        if self.failed is None:
            self.failed = TunnelFailed(failure, stage, detail[:200])
        return self.failed
