"""When no key is needed: only for whoever sits on this host and came straight to us. **Pure**.

A proxy on this host makes the whole world look like 127.0.0.1, so what any proxy adds to a request ends
anonymity. A page in a browser on this host can ask for us under a name of its own that leads here (DNS
rebinding): so the name asked for must be this host's.
"""

import ipaddress
from collections.abc import Mapping

PROXY_HEADERS = (
    "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip",
)  # fmt: skip
"""Whatever says that somebody stands between."""


def is_loopback(host: str) -> bool:
    """Tell whether `host` is this host's own address or name."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def may_be_anonymous(*, allowed: bool, listens: str, client: str | None, headers: Mapping[str, str]) -> bool:
    """Tell whether a request needs no key.

    Args:
        allowed: `[api] anonymous` is "loopback".
        listens: the address that the collector listens on, without port.
        client: where the request comes from, without port; None where nobody knows.
        headers: of the request, names in small letters.
    """
    return (
        allowed
        and is_loopback(listens)
        and client is not None
        and is_loopback(client)
        and not any(name in headers for name in PROXY_HEADERS)
        and is_loopback(_name_of(headers.get("host", "")))
    )


def _name_of(host: str) -> str:
    """Give a Host header's value without port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
