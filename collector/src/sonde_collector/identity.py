"""Who a connection is: on TLS, the client certificate's common name must be the vantage it speaks for."""

from collections.abc import Iterable, Mapping


def refusal(auth: Mapping[str, Iterable[bytes]], vantage: str) -> str | None:
    """Give why a peer may not speak for `vantage`, in words; None if it may. **Pure**.

    Args:
        auth: the connection's `auth_context()`. Without TLS it came from this host (see config).
        vantage: the code that the peer claims.
    """
    if b"ssl" not in auth.get("transport_security_type", ()):
        return None
    names = [name.decode(errors="replace") for name in auth.get("x509_common_name", ())]
    if names == [vantage]:
        return None
    shown = f'"{names[0]}"' if names else "nobody"
    return f'the certificate is for {shown}, not for vantage "{vantage}": use that vantage\'s certificate'
