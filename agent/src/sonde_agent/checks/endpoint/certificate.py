"""A few facts out of an X.509 certificate. No socket, no clock.

A walk over the DER instead of `getpeercert()`: that gives nothing for a certificate that was not
verified, and costs more than the rest of the handshake's bookkeeping.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

_SEQUENCE, _SET, _OID, _UTC_TIME, _GENERALIZED_TIME, _EXPLICIT_0 = 0x30, 0x31, 0x06, 0x17, 0x18, 0xA0
_COMMON_NAME, _ORGANISATION = b"\x55\x04\x03", b"\x55\x04\x0a"
_LONG_FORM = 0x80
_BMP_STRING = 0x1E
_MAX_LENGTH_BYTES = 4


class CertificateFacts(NamedTuple):
    """What a result tells of the leaf."""

    sha256: str
    issuer: str
    not_after_us: int


class CertificateTerm(NamedTuple):
    """Whom a certificate names, and when it holds."""

    subject: str
    not_before_us: int
    not_after_us: int


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(der):
        if at + 2 > len(der):
            raise ValueError("DER ends within a header")
        tag, length = der[at], der[at + 1]
        at += 2
        if length >= _LONG_FORM:
            size = length - _LONG_FORM
            if not 1 <= size <= _MAX_LENGTH_BYTES or at + size > len(der):
                raise ValueError("DER length is malformed")
            length = int.from_bytes(der[at : at + size])
            at += size
        if at + length > len(der):
            raise ValueError("DER ends within a value")
        yield tag, der[at : at + length]
        at += length


def _inside(der: bytes, tag: int) -> bytes:
    for found, value in _elements(der):
        if found == tag:
            return value
        break
    raise ValueError("DER holds another element than expected")


def _name(name: bytes) -> str:
    """The common name; where there is none, the organisation; else empty."""
    found: dict[bytes, str] = {}
    for _, relative in _elements(name):
        for _, attribute in _elements(relative):
            parts = list(_elements(attribute))
            if len(parts) == 2 and parts[0][0] == _OID:  # noqa: PLR2004 - a type and a value
                coding = "utf-16-be" if parts[1][0] == _BMP_STRING else "utf-8"
                found[parts[0][1]] = parts[1][1].decode(coding, "replace")
    return found.get(_COMMON_NAME) or found.get(_ORGANISATION) or ""


def _time_us(tag: int, value: bytes) -> int:
    text = value.decode("ascii", "replace")
    if tag == _UTC_TIME:  # RFC 5280 section 4.1.2.5.1: two-digit years turn at 50
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("DER holds no time where one is due")
    moment = datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000


@lru_cache(maxsize=1024)
def certificate_facts(der: bytes) -> CertificateFacts:
    """Fingerprint, issuer and end of a certificate in DER. **Pure**, and remembered: targets keep theirs.

    Raises:
        ValueError: when it is no certificate.

    Source: RFC 5280 section 4.1; X.690 section 8.1.
    """
    fields = _fields(der)
    (_, (tag, value)) = _dates(fields)
    return CertificateFacts(hashlib.sha256(der).hexdigest(), _name(fields[2][1]), _time_us(tag, value))


def certificate_term(der: bytes) -> CertificateTerm:
    """Subject, beginning and end of a certificate in DER. **Pure**.

    Raises:
        ValueError: when it is no certificate.
    """
    fields = _fields(der)
    begins, ends = _dates(fields)
    subject = _name(fields[4][1]) if len(fields) > 4 else ""  # noqa: PLR2004 - after the dates
    return CertificateTerm(subject, _time_us(*begins), _time_us(*ends))


def _fields(der: bytes) -> list[tuple[int, bytes]]:
    fields = list(_elements(_inside(_inside(der, _SEQUENCE), _SEQUENCE)))
    if fields and fields[0][0] == _EXPLICIT_0:  # version, absent in v1
        del fields[0]
    if len(fields) < 4 or fields[2][0] != _SEQUENCE or fields[3][0] != _SEQUENCE:  # noqa: PLR2004 - serial, algorithm, issuer, validity
        raise ValueError("the certificate lacks an issuer or dates")
    return fields


def _dates(fields: list[tuple[int, bytes]]) -> tuple[tuple[int, bytes], tuple[int, bytes]]:
    dates = list(_elements(fields[3][1]))
    if len(dates) != 2:  # noqa: PLR2004 - not before, not after
        raise ValueError("the certificate's validity is malformed")
    return dates[0], dates[1]
