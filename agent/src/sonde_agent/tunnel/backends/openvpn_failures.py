"""Log lines of OpenVPN that say why it does not connect. **Pure.**

The lines are of OpenVPN 2.5 and 2.6; their words are stable, their numbers are not.
"""

import re
from typing import TypeAlias

from attrs import frozen

from sonde_proto.v1 import results_pb2 as pb

_F: TypeAlias = "pb.Failure.ValueType"


@frozen
class Trouble:
    """What a line tells.

    Attributes:
        failure: why, or PROTOCOL for noise.
        stage: in which; NONE = the one that is going on.
        detail: in words.
        final: it will not come up any more. What is not final, a packet that made no sense, explains a later
            silence.
    """

    failure: _F
    stage: pb.Stage.ValueType
    detail: str
    final: bool = True


_UNREACHABLE = r"No route to host|Network is unreachable|Host is unreachable"

_LINES: tuple[tuple[str, _F, pb.Stage.ValueType, str], ...] = (
    # what it says, failure, stage, detail with the groups of the first
    (
        r"VERIFY ERROR: depth=(\d+), error=([^:]+)",
        pb.FAILURE_CERTIFICATE,
        pb.STAGE_HANDSHAKE,
        "the server's certificate is refused: {1}",
    ),
    (
        r"VERIFY X509NAME ERROR: (.*?), must be (.*)",
        pb.FAILURE_CERTIFICATE,
        pb.STAGE_HANDSHAKE,
        "the server's certificate is of another name: {0}, wanted {1}",
    ),
    (
        r"VERIFY (?:KU|EKU|nsCertType) ERROR|Certificate does not have (?:extended )?key usage",
        pb.FAILURE_CERTIFICATE,
        pb.STAGE_HANDSHAKE,
        "the server's certificate is not one of a server",
    ),
    (
        r"OpenSSL: error:[0-9A-F]+:[^:]*:[^:]*:((?:tlsv1|tlsv13|sslv3) alert [^:]+)",
        pb.FAILURE_TLS,
        pb.STAGE_HANDSHAKE,
        "the server ends TLS: {0}",
    ),
    (
        r"OpenSSL: error:[0-9A-F]+:[^:]*:[^:]*:([^:]+)",
        pb.FAILURE_TLS,
        pb.STAGE_HANDSHAKE,
        "TLS fails: {0}",
    ),
    (r"TLS_ERROR: BIO read tls_read_plaintext error", pb.FAILURE_TLS, pb.STAGE_HANDSHAKE, "TLS fails"),
    (
        r"AUTH: Received control message: AUTH_FAILED,(TEMP.*)",
        pb.FAILURE_BUSY,
        pb.STAGE_AUTH,
        "the server asks to come back later: {0}",
    ),
    (
        r"AUTH: Received control message: AUTH_FAILED,(.*cipher negotiation.*)",
        pb.FAILURE_PROTOCOL,
        pb.STAGE_CONFIGURED,
        "no cipher in common: {0}",
    ),
    (
        r"AUTH: Received control message: AUTH_FAILED(?:,(.*))?",
        pb.FAILURE_AUTH,
        pb.STAGE_AUTH,
        "the server refuses the account {0}",
    ),
    (
        r"OPTIONS ERROR: (.*)|(ERROR: Failed to apply push options)",
        pb.FAILURE_PROTOCOL,
        pb.STAGE_CONFIGURED,
        "what the server pushes can't be used: {0}",
    ),
    (
        r"(?:read|write) UDP.*\[ECONNREFUSED\]|TCP: connect to .* failed: Connection refused",
        pb.FAILURE_REFUSED,
        pb.STAGE_TRANSPORT,
        "the port is closed",
    ),
    (
        rf"(?:(?:read|write) UDP.*|TCP: connect to .* failed: )({_UNREACHABLE})",
        pb.FAILURE_UNREACHABLE,
        pb.STAGE_TRANSPORT,
        "{0}",
    ),
    (
        r"TCP: connect to .* failed: (?:Connection|Operation) timed out",
        pb.FAILURE_TIMEOUT,
        pb.STAGE_TRANSPORT,
        "no answer to TCP's SYN",
    ),
    (r"TCP: connect to .* failed: (.*)", pb.FAILURE_UNREACHABLE, pb.STAGE_TRANSPORT, "{0}"),
    (
        r"TLS key negotiation failed to occur within",
        pb.FAILURE_TIMEOUT,
        pb.STAGE_NONE,
        "the handshake did not end in time",
    ),
)

_NOISE = (
    "Bad encapsulated packet length from peer",
    "TLS Error: unknown opcode",
    "TLS Error: incoming packet authentication failed",
    "TLS Error: cannot locate HMAC",
    "TLS Error: client->client or server->server",
    "TLS Error: reading acknowledgement record",
    "TLS Error: tls-crypt unwrapping failed",
    "tls-crypt unwrap error",
    "Authenticate/Decrypt packet error",
)

_COMPILED = tuple((re.compile(words), failure, stage, detail) for words, failure, stage, detail in _LINES)


def trouble_in(log: str) -> Trouble | None:
    """Give what a log line tells about a failure, or None: nothing."""
    if any(words in log for words in _NOISE):
        words = log.removeprefix("WARNING: ").partition(" -- ")[0]  # what follows is advice about options
        detail = f"what answers is no OpenVPN of this profile: {words}"
        return Trouble(pb.FAILURE_PROTOCOL, pb.STAGE_NONE, detail, final=False)
    for pattern, failure, stage, detail in _COMPILED:
        if match := pattern.search(log):
            groups = [group for group in match.groups(default="") if group]
            return Trouble(failure, stage, detail.format(*groups, "", "").strip())
    return None
