"""A `wg-quick` configuration into a profile. **Pure.**"""

from collections.abc import Callable
from typing import Any

from sonde_proto.profiles import values
from sonde_proto.profiles.model import MOST_MISTAKES, Mistake, Profile, ProfileError, WireGuard

_REFUSED = {
    **dict.fromkeys(("preup", "postup", "predown", "postdown"), "run a command; Sonde runs none"),
    "saveconfig": "write to the file; Sonde never does",
}
_IGNORED = frozenset((("interface", "listenport"), ("interface", "fwmark"), ("interface", "table")))
"""They are about the routing of a host; here a tunnel has a network namespace of its own."""


def _endpoint(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or (":" in host and not host.startswith("[")):
        raise ValueError(f'must be "host:port", or "[address]:port" for IPv6, not {values.quoted(text)}')
    return values.host(host), values.port(port)


def _listed(read: Callable[[str], str]) -> Callable[[str], tuple[str, ...]]:
    return lambda text: tuple(read(part.strip()) for part in text.split(",") if part.strip())


def _dns(text: str) -> tuple[str, ...]:
    """Addresses of resolvers; search domains, which `wg-quick` allows here, are for people."""
    kept = []
    for part in text.split(","):
        try:
            kept.append(values.address(part.strip()))
        except ValueError:
            values.host(part.strip())
    return tuple(kept)


def _keepalive(text: str) -> int:
    return 0 if text.lower() == "off" else values.number(text, 0, 65_535)


def _mtu(text: str) -> int:
    return values.number(text, 576, 65_535)


_KEYS: dict[tuple[str, str], Callable[[str], Any]] = {
    ("interface", "privatekey"): values.wireguard_key,
    ("interface", "address"): _listed(values.interface),
    ("interface", "dns"): _dns,
    ("interface", "mtu"): _mtu,
    ("peer", "publickey"): values.wireguard_key,
    ("peer", "presharedkey"): values.wireguard_key,
    ("peer", "allowedips"): _listed(values.network),
    ("peer", "endpoint"): _endpoint,
    ("peer", "persistentkeepalive"): _keepalive,
}
_MOST = 512
"""Networks of one file: some providers list all that is not a home's."""
_MANY = frozenset({"address", "dns", "allowedips"})
_NEEDED = {
    "address": "[Interface] has no Address",
    "publickey": "[Peer] has no PublicKey",
    "allowedips": "[Peer] has no AllowedIPs: nothing would go through the tunnel",
    "endpoint": "[Peer] has no Endpoint",
}


def parse(name: str, text: str) -> Profile:
    """Give the profile that `text`, the file `name`, describes.

    Raises:
        ProfileError: it is none; with every mistake.
    """
    found: dict[str, Any] = {}
    mistakes: list[Mistake] = []
    section, peers = "", 0
    for at, raw in enumerate(text.split("\n"), 1):
        line = raw.partition("#")[0].strip()
        if not line:
            continue
        if len(mistakes) > MOST_MISTAKES:
            break
        if line.startswith("["):
            section = line.lower().strip("[] ")
            peers += section == "peer"
            if section not in {"interface", "peer"}:
                mistakes.append(Mistake(at, f"{values.quoted(line)} is no section of WireGuard's"))
            elif peers > 1 and section == "peer":
                mistakes.append(Mistake(at, "has a second [Peer]: one server for each file"))
                break
            continue
        try:
            _take(section, line, found)
        except ValueError as error:
            mistakes.append(Mistake(at, str(error)))
    if not mistakes:
        mistakes = [Mistake(0, reason) for key, reason in _NEEDED.items() if not found.get(key)]
    if mistakes:
        raise ProfileError(name, mistakes)
    host, port = found["endpoint"]
    return Profile(
        "WireGuard",
        host,
        port,
        WireGuard(
            private_key=found.get("privatekey"),
            addresses=found["address"],
            dns=found.get("dns", ()),
            mtu=found.get("mtu"),
            public_key=found["publickey"],
            preshared_key=found.get("presharedkey"),
            allowed_ips=found["allowedips"],
            keepalive=found.get("persistentkeepalive"),
        ),
    )


def _take(section: str, line: str, found: dict[str, Any]) -> None:
    """Keep what one line says in `found`.

    Raises:
        ValueError: it can't be.
    """
    key, equals, value = (part.strip() for part in line.partition("="))
    lower = key.lower()
    if not equals:
        raise ValueError(f'{values.named(key)} is no "Key = value"')
    if lower in _REFUSED:
        raise ValueError(f"{values.quoted(key)} would {_REFUSED[lower]}: remove the line")
    if (section, lower) in _IGNORED:
        return
    read = _KEYS.get((section, lower))
    if read is None:
        raise ValueError(f"{values.named(key)} is no key that Sonde knows {_where(section)}")
    if lower in found and lower not in _MANY:
        raise ValueError(f"{values.quoted(key)} stands there twice")
    try:
        got = read(value)
    except ValueError as error:
        raise ValueError(f"{key} {error}") from None
    found[lower] = values.few(found.get(lower, ()) + got, _MOST) if lower in _MANY else got


def _where(section: str) -> str:
    return f"in [{section.capitalize()}]" if section else "before [Interface]"
