"""gRPC's words for a connection that failed before anything was said, and what to look at. **Pure.**"""

_NEVER_STOOD = "failed to connect to all addresses"
_OURS, _THEIRS = "the collector ended the handshake", "the collector's certificate is not accepted"


def is_of_certificates(error: str) -> bool:
    """Tell whether an error, with its advice, is about certificates: whoever looks closer may know more."""
    return _OURS in error or _THEIRS in error


def advice(error: str, *, tls: bool) -> str:
    """What an operator should look at; empty where the error says it all, or it was no handshake.

    Args:
        error: as gRPC tells it.
        tls: whether we speak TLS.
    """
    if _NEVER_STOOD not in error:
        return ""
    if "CERTIFICATE_VERIFY_FAILED" in error or "peer certificate" in error:
        return (
            f"{_THEIRS}: check that tls.ca signed it, that it names the "
            "host in `collector`, that it has not ended, and that this host's clock is right "
            "(`sonde-agent doctor` tells)"
        )
    if "WRONG_VERSION_NUMBER" in error:
        return "the collector speaks plain text here: set its grpc.tls_cert, tls_key and client_ca"
    if "Socket closed" not in error and "Connection reset" not in error:
        return ""
    if tls:
        return (
            f"{_OURS}: check that its grpc.client_ca signed tls.cert, that tls.cert "
            "has not ended (`sonde-agent doctor` tells), and that it speaks TLS"
        )
    return "the collector ended the connection at once: if it speaks TLS, add [tls] with ca, cert and key"
