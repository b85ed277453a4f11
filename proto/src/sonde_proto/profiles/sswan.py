"""A strongSwan profile (`.sswan`, JSON) into a profile. **Pure.**

Source: strongSwan documentation, "Android VPN client profiles".
"""

import base64
import binascii
import json
import re
from typing import Any

from sonde_proto.profiles import values
from sonde_proto.profiles.model import MOST_MISTAKES, Ike, Mistake, Profile, ProfileError

_IKE_PORT = 500
_MOST_DNS = 16
_IGNORED = frozenset({"uuid", "name", "split-tunneling", "nat-keepalive"})
_REMOTE_IGNORED = frozenset({"certreq", "revocation", "send_certreq", "crl", "ocsp", "strict"})
_LINE = 64


def parse(name: str, text: str) -> Profile:
    """Give the profile that `text`, the file `name`, describes.

    Raises:
        ProfileError: it is none; with every mistake.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ProfileError(name, [Mistake(error.lineno, f"is not JSON: {error.msg}")]) from None
    except (RecursionError, ValueError):
        raise ProfileError(
            name, [Mistake(0, "is not JSON that can be read: too deep, or a number too long")]
        ) from None
    if not isinstance(document, dict):
        raise ProfileError(name, [Mistake(1, "must be a JSON object")])
    reading = _Reading(text, document)
    profile = reading.profile()
    if profile is None:
        raise ProfileError(name, sorted(reading.mistakes, key=lambda mistake: mistake.line))
    return profile


class _Reading:
    """A document while its keys are taken out of it one by one."""

    def __init__(self, text: str, document: dict[str, Any]) -> None:
        self._text = text
        self._document = document
        self.mistakes: list[Mistake] = []

    def profile(self) -> Profile | None:
        """Give what it says, or None: there are mistakes."""
        kind = self._string(self._document, "type", "type", lambda text: text)
        if kind not in ("ikev2-eap", None):
            self._wrong(
                "type", f'type must be "ikev2-eap", a user name and a password; not {values.quoted(kind)}'
            )
        remote, local = self._object("remote"), self._object("local")
        host = self._string(remote, "addr", "remote.addr", values.host)
        if host is None and not self.mistakes:
            self._wrong("remote", "remote has no addr: where should it connect to?")
        port = self._number(remote, "port", "remote.port", 1, 65_535)
        settings = Ike(
            remote_id=self._string(remote, "id", "remote.id", values.words) or host or "",
            ca=self._string(remote, "cert", "remote.cert", _certificate) or "",
            eap_id=self._string(local, "eap_id", "local.eap_id", values.words) or "",
            local_id=self._string(local, "id", "local.id", values.words) or "",
            ike_proposal=self._string(self._document, "ike-proposal", "ike-proposal", values.algorithms)
            or "",
            esp_proposal=self._string(self._document, "esp-proposal", "esp-proposal", values.algorithms)
            or "",
            dns=self._dns(),
            mtu=self._number(self._document, "mtu", "mtu", 576, 9000),
        )
        self._nothing_else(remote, local)
        return None if self.mistakes or host is None else Profile("IKEv2", host, port or _IKE_PORT, settings)

    def _nothing_else(self, remote: dict[str, Any], local: dict[str, Any]) -> None:
        known = _IGNORED | {"type", "remote", "local", "ike-proposal", "esp-proposal", "dns-servers", "mtu"}
        remote_known = _REMOTE_IGNORED | {"addr", "port", "id", "cert"}
        for where, found, allowed in (
            ("", self._document, known),
            ("remote.", remote, remote_known),
            ("local.", local, {"id", "eap_id", "rsa-pss"}),
        ):
            for key in found:
                if key == "p12":
                    self._wrong(key, f"{where}p12 can't be used: only a user name and a password")
                elif key not in allowed:
                    self._wrong(key, f"{values.quoted(where + key)} is no key that Sonde knows")

    def _object(self, key: str) -> dict[str, Any]:
        got = self._document.get(key, {})
        if isinstance(got, dict):
            return got
        self._wrong(key, f"{key} must be an object")
        return {}

    def _string(self, found: dict[str, Any], key: str, path: str, read: Any) -> str | None:
        got = found.get(key)
        if got is None:
            return None
        try:
            if not isinstance(got, str):
                raise ValueError("must be a string")  # noqa: TRY004, TRY301 -- told as every other mistake of a value
            kept: str = read(got)
        except ValueError as error:
            self._wrong(key, f"{path} {error}")
            return None
        return kept

    def _number(self, found: dict[str, Any], key: str, path: str, low: int, high: int) -> int | None:
        got = found.get(key)
        if got is None:
            return None
        if type(got) is not int or not low <= got <= high:
            self._wrong(key, f"{path} must be a number from {low} to {high}")
            return None
        return got

    def _dns(self) -> tuple[str, ...]:
        got = self._document.get("dns-servers", [])
        listed = re.split(r"[\s,]+", got.strip()) if isinstance(got, str) else got
        try:
            if not isinstance(listed, list):
                raise ValueError("must be a list of addresses")  # noqa: TRY004, TRY301 -- as above
            return values.few(tuple(values.address(str(part)) for part in listed if part != ""), _MOST_DNS)
        except ValueError as error:
            self._wrong("dns-servers", f"dns-servers {error}")
            return ()

    def _wrong(self, key: str, reason: str) -> None:
        """Add a mistake at the first line on which `key` stands, if there are not enough already."""
        if len(self.mistakes) > MOST_MISTAKES:
            return
        at = self._text.find(json.dumps(key))
        self.mistakes.append(Mistake(self._text.count("\n", 0, at) + 1 if at >= 0 else 0, reason))


def _certificate(text: str) -> str:
    """Give the PEM of a certificate that stands there as base64 of its DER."""
    try:
        der = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        der = b""
    if not der.startswith(b"\x30"):
        raise ValueError("must be a certificate: base64 of its DER")
    body = base64.b64encode(der).decode()
    lines = [body[at : at + _LINE] for at in range(0, len(body), _LINE)]
    return "\n".join(["-----BEGIN CERTIFICATE-----", *lines, "-----END CERTIFICATE-----", ""])
