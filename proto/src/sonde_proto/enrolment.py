"""What agent and collector must agree on to enrol: the token's form, and what a renewal signs. **Pure**."""

import base64
import binascii
import hashlib
import re
import secrets
from typing import Self

import attrs

VANTAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,9}")
_FORM = "sonde1"
_FINGERPRINT_BYTES = 32
_SECRET_BYTES = 24
_CHECK_CHARACTERS = 6
_PARTS = 5


@attrs.frozen
class Token:
    """Lets one agent enrol, once: `sonde1.VANTAGE.FINGERPRINT.SECRET.CHECK`.

    The last part is a checksum, so that a token that was cut or mistyped is told from one that was used up.

    Attributes:
        vantage: the only one that it may enrol.
        ca_sha256: of the authority's certificate, in DER; whoever can't show it is not the collector.
        secret: 192 random bits.
    """

    vantage: str
    ca_sha256: bytes
    secret: bytes = attrs.field(repr=False)

    @classmethod
    def new(cls, vantage: str, ca_sha256: bytes) -> Self:
        """Give one that was never given before."""
        return cls(vantage, ca_sha256, secrets.token_bytes(_SECRET_BYTES))

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a token as a person passes it on.

        Raises:
            ValueError: it is none; the message says what is wrong, and never shows it.
        """
        parts = text.strip().split(".")
        if parts[0] != _FORM or len(parts) != _PARTS:
            raise ValueError(
                f'is no enrolment token: one begins with "{_FORM}." and has {_PARTS} parts; '
                "`sonde-collector agents token VANTAGE` makes one"
            )
        _, vantage, fingerprint, secret, check = parts
        if not secrets.compare_digest(check.encode(), _check(f"{_FORM}.{vantage}.{fingerprint}.{secret}")):
            raise ValueError("is not whole: it was cut or mistyped; copy it again")
        if not VANTAGE.fullmatch(vantage):
            raise ValueError("names no vantage")
        return cls(vantage, _decoded(fingerprint, _FINGERPRINT_BYTES), _decoded(secret, _SECRET_BYTES))

    def write(self) -> str:
        """Give its text."""
        text = f"{_FORM}.{self.vantage}.{_encoded(self.ca_sha256)}.{_encoded(self.secret)}"
        return f"{text}.{_check(text).decode()}"

    @property
    def digest(self) -> bytes:
        """What is kept of it: nobody finds 192 random bits from their SHA-256."""
        return hashlib.sha256(b"sonde token\0" + self.write().encode()).digest()


def statement(csr: bytes, certificate: bytes) -> bytes:
    """Give what the old key signs to say that the new key is its successor."""
    return b"sonde renewal 1\0" + hashlib.sha256(csr).digest() + hashlib.sha256(certificate).digest()


def fingerprint(sha256: bytes) -> str:
    """Give a certificate's SHA-256 as people compare it."""
    return sha256.hex(":").upper()


def _check(text: str) -> bytes:
    return _encoded(hashlib.sha256(text.encode()).digest()).encode()[:_CHECK_CHARACTERS]


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str, size: int) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text.encode("ascii") + b"==")
    except (UnicodeEncodeError, binascii.Error):
        data = b""
    if len(data) != size or _encoded(data) != text:
        raise ValueError("is not whole: a part of it can't be read")
    return data
