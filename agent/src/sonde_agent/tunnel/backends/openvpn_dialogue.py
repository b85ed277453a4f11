"""The talk with one OpenVPN process from its hold to its end: lines in, answers and stages out. **Pure.**

Whoever runs the process passes on what it says on its management socket and on standard output, and sends
back what `asked` gives. Stages are differences of OpenVPN's own time stamps.
"""

import re
from collections.abc import Callable

from sonde_agent.tunnel.backends import openvpn_management as management
from sonde_agent.tunnel.backends import openvpn_push
from sonde_agent.tunnel.backends.base import Secrets, TunnelFailed
from sonde_agent.tunnel.backends.openvpn_failures import Trouble, trouble_in
from sonde_proto.v1 import results_pb2 as pb

_SENDS = re.compile(r"UDPv[46] link remote: |Attempting to establish TCP connection with ")
_OVER = {
    # what is said when a stage ends
    "TCP connection established with": pb.STAGE_TRANSPORT,
    "TLS: Initial packet from": pb.STAGE_TRANSPORT,
    "Control Channel: TLS": pb.STAGE_HANDSHAKE,
}
_UP = "Initialization Sequence Completed"
_ENDS = re.compile(r"SIG\w+\[(?:soft|hard),([^\]]*)\] received, (?:process|client-instance)")
_NO_ANSWER_IN_TIME = "server_poll"  # connect-timeout: nothing that it understands came
_OUR_PROFILE = ("load", "key", "certificate", "option", "cipher")

_NEXT = {
    pb.STAGE_TRANSPORT: pb.STAGE_HANDSHAKE,
    pb.STAGE_HANDSHAKE: pb.STAGE_AUTH,
    pb.STAGE_AUTH: pb.STAGE_CONFIGURED,
    pb.STAGE_CONFIGURED: pb.STAGE_TRANSFER,
}
_WAITED = {
    pb.STAGE_TRANSPORT: "no answer",
    pb.STAGE_HANDSHAKE: "the server answers, but the TLS handshake does not end",
    pb.STAGE_AUTH: "the handshake is over, but the server neither accepts nor refuses",
}


class Dialogue:
    """One connection.

    Args:
        secrets: for `auth-user-pass`.
        stage: told as each stage ends, with how long it took [ms].

    Attributes:
        pushed: what the server assigned, once it has.
        connected: it came up.
        failed: why it did not, or is no longer.
    """

    def __init__(self, secrets: Secrets, stage: Callable[[pb.Stage.ValueType, float], None]) -> None:
        self.pushed: openvpn_push.Pushed | None = None
        self.connected = False
        self.failed: TunnelFailed | None = None
        self._secrets = secrets
        self._tell = stage
        self._going_on: pb.Stage.ValueType = pb.STAGE_TRANSPORT
        self._since = 0.0
        self._released = False
        self._messages: list[str] = []
        self._noise: Trouble | None = None
        self._answers = False

    def asked(self, line: str) -> list[str]:
        """Take one line of the management socket; give the lines to answer with."""
        if management.is_hold(line) and not self._released:
            self._released = True  # a second hold is a restart, and what made it is the result
            return ["bytecount 1", "hold release"]
        self._answers = self._answers or management.bytes_in(line) > 0
        what = management.secret_wanted(line)
        if what is None:
            return []
        if what != "Auth":
            self._fail(pb.FAILURE_PROFILE, pb.STAGE_AUTH, f"the profile needs a secret for its {what}")
            return []
        try:
            name, word = management.quoted(self._secrets.username), management.quoted(self._secrets.password)
        except ValueError:
            self._fail(pb.FAILURE_PROFILE, pb.STAGE_AUTH, "user name or password holds a control character")
            return []
        return [f'username "Auth" {name}', f'password "Auth" {word}']

    def heard(self, line: str) -> None:
        """Take one line of standard output."""
        said = management.logged(line)
        if said is None:
            return
        if ends := _ENDS.match(said.text):
            self._ends(ends.group(1))
        elif said.fatal:
            ours = any(word in said.text for word in _OUR_PROFILE)
            failure = pb.FAILURE_PROFILE if ours else pb.FAILURE_LOCAL
            self._fail(failure, self._going_on, f"OpenVPN can't go on: {said.text}")
        elif not self.connected and self.failed is None:
            self._progress(said)

    def silence(self) -> TunnelFailed:
        """Say why it is not up although its time is over."""
        if self._noise is not None:
            return self._fail(self._noise.failure, self._going_on, self._noise.detail)
        if self._answers and self._going_on == pb.STAGE_TRANSPORT:
            return self._fail(
                pb.FAILURE_PROTOCOL, self._going_on, "what answers is no OpenVPN of this profile"
            )
        waited = _WAITED.get(self._going_on, "it does not come up")
        return self._fail(pb.FAILURE_TIMEOUT, self._going_on, waited)

    def gone(self) -> TunnelFailed:
        """Say why the process is gone."""
        return self._fail(pb.FAILURE_LOCAL, self._going_on, "OpenVPN ended by itself")

    def _progress(self, said: management.Logged) -> None:
        if _SENDS.match(said.text):
            # A TCP connection is "linked" once more when it is open: only the first counts.
            self._since = self._since or said.at
        elif said.text == _UP:
            self._up(said.at)
        elif (push := openvpn_push.message_of(said.text)) is not None:
            self._messages.append(push)
            if openvpn_push.is_last(push):
                self._over(pb.STAGE_AUTH, said.at)
                self.pushed = openvpn_push.read(self._messages)
        elif stage := next((stage for words, stage in _OVER.items() if said.text.startswith(words)), None):
            self._over(stage, said.at)
        elif (trouble := trouble_in(said.text)) is not None:
            self._trouble(trouble)

    def _trouble(self, trouble: Trouble) -> None:
        if not trouble.final:
            self._noise = trouble
        elif trouble.failure == pb.FAILURE_REFUSED and self._going_on != pb.STAGE_TRANSPORT:
            self._fail(pb.FAILURE_RESET, self._going_on, "the port closed during the handshake")
        elif trouble.failure == pb.FAILURE_TIMEOUT:
            self.silence()
        else:
            self._fail(trouble.failure, trouble.stage or self._going_on, trouble.detail)

    def _ends(self, reason: str) -> None:
        if not self.connected and (self._noise is not None or reason == _NO_ANSWER_IN_TIME):
            self.silence()
        self._fail(pb.FAILURE_RESET, self._going_on, f"the connection ended: {reason or 'no reason given'}")

    def _up(self, at: float) -> None:
        if self.pushed is None or not self.pushed.addresses:
            self._fail(pb.FAILURE_NO_ADDRESS, pb.STAGE_CONFIGURED, "the server assigned no address")
            return
        self._over(pb.STAGE_CONFIGURED, at)
        self.connected = True

    def _over(self, stage: pb.Stage.ValueType, at: float) -> None:
        """End `stage`, and those before it of which nothing was said."""
        while self._going_on <= stage:
            self._tell(self._going_on, max(at - self._since, 0.0) * 1e3)
            self._going_on, self._since = _NEXT[self._going_on], at

    def _fail(self, failure: pb.Failure.ValueType, stage: pb.Stage.ValueType, detail: str) -> TunnelFailed:
        """Keep the first reason: later ones follow from it."""
        if self.failed is None:
            self.failed = TunnelFailed(failure, stage, management.shown(detail))
        return self.failed
