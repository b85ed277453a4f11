"""Why a run ended: one table from exception to failure and words. No socket, no clock.

The stage is where the run stood when it ended; only two answers move it (a refused credential, a
resolver that failed).
"""

import errno
import re
import socket
import ssl
from typing import NamedTuple

from sonde_proto.v1 import results_pb2 as pb

# X509_V_ERR_* of OpenSSL (x509_vfy.h): what people need told apart.
_CERTIFICATE_WORDS = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    18: "the certificate is self-signed and not among the trusted ones",
    19: "the certificate's issuer is unknown: its root is not among the trusted ones",
    20: "the certificate's issuer is unknown",
    21: "the certificate's issuer is unknown: the server sends no chain to a trusted root",
    23: "the certificate is revoked",
    62: "the certificate is for another name",
    63: "the certificate is for another name",
    64: "the certificate is for another address",
}
# Alerts with which a server refuses our client certificate, or its absence (RFC 8446 section 6.2).
_REFUSES_US = (
    "ALERT_CERTIFICATE_REQUIRED", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA", "ALERT_ACCESS_DENIED",
    "ALERT_CERTIFICATE_UNKNOWN", "ALERT_CERTIFICATE_EXPIRED", "ALERT_CERTIFICATE_REVOKED",
)  # fmt: skip
# What OpenSSL says when the bytes are no TLS at all.
_NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "HTTP_REQUEST",
    "UNEXPECTED_MESSAGE",
    "RECORD_LAYER_FAILURE",
    "HTTPS_PROXY_REQUEST",
)
_NO_NAME = tuple(
    getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)
)
_BY_ERRNO: dict[int, tuple[pb.Failure.ValueType, str]] = {
    errno.ECONNREFUSED: (pb.FAILURE_REFUSED, "the port is closed"),
    errno.ECONNRESET: (pb.FAILURE_RESET, "the peer reset the connection"),
    errno.EPIPE: (pb.FAILURE_RESET, "the peer closed the connection"),
    errno.ECONNABORTED: (pb.FAILURE_RESET, "the connection was aborted"),
    errno.ETIMEDOUT: (pb.FAILURE_TIMEOUT, "no answer in time"),
    errno.EHOSTUNREACH: (pb.FAILURE_UNREACHABLE, "the network says that the host is unreachable"),
    errno.ENETUNREACH: (pb.FAILURE_UNREACHABLE, "the network is unreachable"),
    errno.EHOSTDOWN: (pb.FAILURE_UNREACHABLE, "the host is down"),
    errno.EAFNOSUPPORT: (pb.FAILURE_UNSUPPORTED, "this host lacks the address family"),
    errno.EMFILE: (pb.FAILURE_LOCAL, "this agent has too many files open: raise LimitNOFILE"),
    errno.EPERM: (pb.FAILURE_LOCAL, "this host's own firewall refuses the packet"),
    errno.EACCES: (pb.FAILURE_LOCAL, "this host does not allow the connection"),
    errno.EADDRNOTAVAIL: (pb.FAILURE_LOCAL, "this host has no local address or port left for it"),
}
_ADDRESS = re.compile(
    r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?|\[?(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}\]?(?:%\w+)?"
)


class Trouble(Exception):
    """An end that our own code finds: failure and words are known already."""

    def __init__(
        self, failure: pb.Failure.ValueType, words: str, stage: pb.Stage.ValueType | None = None
    ) -> None:
        super().__init__(words)
        self.failure, self.words, self.stage = failure, words, stage


class End(NamedTuple):
    """How a run ended."""

    failure: pb.Failure.ValueType
    stage: pb.Stage.ValueType
    words: str


def scrub(text: str) -> str:
    """A foreign error text without addresses, on one line, at most 200 characters. **Pure.**"""
    return _ADDRESS.sub("[address]", " ".join(text.split()))[:200]


def _tls(error: ssl.SSLError, stage: pb.Stage.ValueType) -> End:
    if isinstance(error, ssl.SSLCertVerificationError):
        words = _CERTIFICATE_WORDS.get(error.verify_code)
        return End(pb.FAILURE_CERTIFICATE, stage, words or f"the certificate: {scrub(error.verify_message)}")
    reason = getattr(error, "reason", None) or ""  # set by the ssl module only
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)) or "UNEXPECTED_EOF" in reason:
        return End(pb.FAILURE_RESET, stage, "the peer closed the connection early")
    if reason.endswith(_REFUSES_US):
        return End(
            pb.FAILURE_AUTH, pb.STAGE_AUTH, f"the server refuses our client certificate: {_spoken(reason)}"
        )
    if reason.endswith(_NO_TLS):
        return End(pb.FAILURE_PROTOCOL, stage, "the peer does not speak TLS")
    return End(pb.FAILURE_TLS, stage, _spoken(reason) or scrub(str(error)))


def _spoken(reason: str) -> str:
    return re.sub(r"^(?:sslv3|tlsv1|tlsv13) ", "TLS ", reason.replace("_", " ").lower())


def classify(error: Exception, stage: pb.Stage.ValueType) -> End | None:  # noqa: PLR0911 - a table
    """What an exception at a stage means; None for one that is a defect of ours. **Pure.**"""
    if isinstance(error, Trouble):
        return End(error.failure, stage if error.stage is None else error.stage, error.words)
    if isinstance(error, ssl.SSLError):
        return _tls(error, stage)
    if isinstance(error, socket.gaierror):
        if error.errno in _NO_NAME:
            return End(
                pb.FAILURE_NO_ADDRESS, pb.STAGE_RESOLVE, "the name does not exist or has no such address"
            )
        return End(pb.FAILURE_DNS, pb.STAGE_RESOLVE, f"the resolver failed: {scrub(error.strerror or '')}")
    if isinstance(error, TimeoutError):
        if stage == pb.STAGE_RESOLVE:
            return End(pb.FAILURE_DNS, stage, "the resolver did not answer in time")
        return End(pb.FAILURE_TIMEOUT, stage, "no answer in time")
    if isinstance(error, OSError):
        failure, words = _BY_ERRNO.get(
            error.errno or 0, (pb.FAILURE_LOCAL, scrub(error.strerror or str(error)))
        )
        return End(failure, stage, words)
    return None
