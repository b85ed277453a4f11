"""gRPC's words for a connection that failed before anything was said, and what to look at. **Pure.**"""

_NEVER_STOOD = "failed to connect to all addresses"


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
            "the collector's certificate is not accepted: check that tls.ca signed it, that it names the "
            "host in `collector`, and that it has not ended"
        )
    if "WRONG_VERSION_NUMBER" in error:
        return "the collector speaks plain text here: set its grpc.tls_cert, tls_key and client_ca"
    if "Socket closed" not in error and "Connection reset" not in error:
        return ""
    if tls:
        return (
            "the collector ended the handshake: check that its grpc.client_ca signed tls.cert, that tls.cert "
            "has not ended (`sonde-agent doctor` tells), and that it speaks TLS"
        )
    return "the collector ended the connection at once: if it speaks TLS, add [tls] with ca, cert and key"
