"""What a provider's file says, as allow-listed fields: `.conf`, `.ovpn`, `.sswan`.

A file comes from outside. It is read here, once, by code that opens nothing and runs nothing; what it may say
is a closed list of fields, and everything downstream works with those alone.
"""

import hashlib
from collections.abc import Callable
from pathlib import PurePath

from attrs import evolve

from sonde_proto.profiles import openvpn, sswan, values, wireguard, x25519
from sonde_proto.profiles.model import (
    PROTOCOLS,
    Ike,
    Mistake,
    OpenVpn,
    Profile,
    ProfileError,
    Remote,
    WireGuard,
)

__all__ = [
    "PROTOCOLS",
    "SUFFIXES",
    "Ike",
    "Mistake",
    "OpenVpn",
    "Profile",
    "ProfileError",
    "Remote",
    "WireGuard",
    "key_id",
    "parse",
    "place",
]

LARGEST = 2**20
"""Bytes of a file; a real one has a few thousand."""

_PARSERS: dict[str, Callable[[str, str], Profile]] = {
    ".conf": wireguard.parse,
    ".ovpn": openvpn.parse,
    ".sswan": sswan.parse,
}

SUFFIXES = tuple(_PARSERS)
"""Of files that `parse` reads."""


def parse(name: str, data: bytes) -> Profile:
    """Give the profile in the file `name`, whose bytes are `data`. **Pure.**

    Args:
        name: the file's; its suffix says what is in it.
        data: at most 1 MiB of UTF-8 text.

    Raises:
        ProfileError: it is none that can be used; with every mistake and its line.
    """
    suffix = PurePath(name).suffix.lower()
    if suffix not in _PARSERS:
        raise ProfileError(name, [Mistake(0, f"must end in {', '.join(SUFFIXES)}")])
    if len(data) > LARGEST:
        raise ProfileError(name, [Mistake(0, f"has {len(data)} bytes; a profile has at most {LARGEST}")])
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ProfileError(name, [Mistake(line, "is not UTF-8 text")]) from None
    nul = text.find("\0")
    if nul >= 0:
        raise ProfileError(name, [Mistake(text.count("\n", 0, nul) + 1, "holds a NUL: it is no text")])
    return _PARSERS[suffix](name, text)


def place(profile: Profile, host: str, port: int, public_key: str, server_name: str) -> Profile:
    """Give `profile`, a template, for another server of the same provider. **Pure.**

    Args:
        profile: the template.
        host: address or name of the server.
        port: 0 = the template's.
        public_key: WireGuard only: the server's, base64; "" = the template's.
        server_name: OpenVPN and IKE only: the name in the server's certificate; "" = the template's.

    Raises:
        ProfileError: one of them is not what it must be.
    """
    settings = profile.settings
    try:
        at = (values.host(host), values.port(str(port)) if port else profile.port)
        name = values.words(server_name) if server_name else ""
        if isinstance(settings, WireGuard):
            key = values.wireguard_key(public_key) if public_key else settings.public_key
            settings = evolve(settings, public_key=key)
        elif isinstance(settings, OpenVpn):
            remote = evolve(settings.remotes[0], host=at[0], port=at[1])
            verify = (name, "name") if name else settings.verify_x509_name
            settings = evolve(settings, remotes=(remote,), verify_x509_name=verify)
        else:
            settings = evolve(settings, remote_id=name or at[0])
    except ValueError as error:
        raise ProfileError(values.quoted(host), [Mistake(0, f"the place {error}")]) from None
    return evolve(profile, host=at[0], port=at[1], settings=settings)


def key_id(profile: Profile) -> str:
    """Give a name for our WireGuard key: hex SHA-256 of its public half, 16 digits; "" = no key. **Pure.**"""
    key = profile.settings.private_key if isinstance(profile.settings, WireGuard) else None
    return hashlib.sha256(x25519.public_key(key)).hexdigest()[:16] if key else ""
