"""IKE_SA_INIT as messages: a request that offers what is in use, and what an answer means. No socket.

Source: RFC 7296 sections 1.2, 2.6, 3.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from enum import Enum, auto

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_HEADER = struct.Struct(">8s8sBBBBII")
_PAYLOAD = struct.Struct(">BBH")
_VERSION, _SA_INIT, _INITIATOR, _RESPONSE = 0x20, 34, 0x08, 0x20
_SA, _KE, _NONCE, _NOTIFY = 33, 34, 40, 41
_NO_SPI = bytes(8)
_NO_PROPOSAL, _INVALID_KE, _FIRST_STATUS, _COOKIE = 14, 17, 16_384, 16_390
_KEY_LENGTH = 0x800E  # attribute 14, in the short form

_ENCRYPTION, _PRF, _INTEGRITY, _GROUP = 1, 2, 3, 4
_GCM, _CBC = 20, 12
_KEY_BITS = (256, 128, 192)
_PRFS = (5, 7, 6, 2)  # HMAC with SHA-256, SHA-512, SHA-384, SHA-1
_INTEGRITIES = (12, 14, 13, 2)
_MODP_BYTES = {14: 256, 15: 384, 16: 512, 2: 128, 5: 192}
_CURVES: dict[int, type[ec.EllipticCurve]] = {19: ec.SECP256R1, 20: ec.SECP384R1, 21: ec.SECP521R1}
_CURVE25519 = 31
GROUPS = (_CURVE25519, *_CURVES, *_MODP_BYTES)
"""Diffie-Hellman groups that are offered (IANA numbers), the default first."""

_GROUP_NAMES = {
    "curve25519": 31,
    "x25519": 31,
    "ecp256": 19,
    "ecp384": 20,
    "ecp521": 21,
    "modp2048": 14,
    "modp3072": 15,
    "modp4096": 16,
    "modp1024": 2,
    "modp1536": 5,
}


class Meaning(Enum):
    """What an answer says."""

    DONE = auto()
    """It chose from our offer and sent its half of the key exchange."""
    COOKIE = auto()
    """It is under load and wants proof of our address first: send `data` back."""
    OTHER_GROUP = auto()
    """It wants group `number`."""
    NO_PROPOSAL = auto()
    """It takes nothing of our offer."""
    ERROR = auto()
    """Another error of its own, `number`."""
    GARBAGE = auto()
    """No answer of IKE's to this request."""


@frozen
class Answer:
    """An answer: its meaning, and what belongs to that."""

    meaning: Meaning
    number: int = 0
    data: bytes = b""


class Request:
    """One IKE_SA_INIT, and its repetitions with a cookie or another group."""

    def __init__(self, group: int) -> None:
        """Begin, with the half of a key exchange in `group`, one of `GROUPS`."""
        self._spi = os.urandom(8)
        self._nonce = os.urandom(32)
        self._group = group
        self._public = _public_value(group)
        self._cookie = b""

    def take_cookie(self, data: bytes) -> None:
        """Send it back with the next packet."""
        self._cookie = data

    def take_group(self, group: int) -> None:
        """Use `group`, one of `GROUPS`, from the next packet on."""
        self._group = group
        self._public = _public_value(group)

    def packet(self) -> bytes:
        """Give the datagram to send."""
        payloads = [
            (_SA, _offer()),
            (_KE, struct.pack(">HH", self._group, 0) + self._public),
            (_NONCE, self._nonce),
        ]
        if self._cookie:
            payloads.insert(0, (_NOTIFY, struct.pack(">BBH", 0, 0, _COOKIE) + self._cookie))
        kinds = [kind for kind, _ in payloads]
        body = b"".join(
            _PAYLOAD.pack(following, 0, _PAYLOAD.size + len(content)) + content
            for (_, content), following in zip(payloads, [*kinds[1:], 0], strict=True)
        )
        length = _HEADER.size + len(body)
        return _HEADER.pack(self._spi, _NO_SPI, kinds[0], _VERSION, _SA_INIT, _INITIATOR, 0, length) + body

    def judge(self, datagram: bytes) -> Answer:
        """Say what `datagram` means."""
        if len(datagram) < _HEADER.size:
            return Answer(Meaning.GARBAGE)
        spi, _, first, version, exchange, flags, message, length = _HEADER.unpack_from(datagram)
        if (
            spi != self._spi
            or version >> 4 != _VERSION >> 4
            or exchange != _SA_INIT
            or not flags & _RESPONSE
            or message != 0
            or length != len(datagram)
        ):
            return Answer(Meaning.GARBAGE)
        try:
            payloads = list(_payloads(datagram, first))
        except ValueError:
            return Answer(Meaning.GARBAGE)
        if {_SA, _KE, _NONCE} <= {kind for kind, _ in payloads}:
            return Answer(Meaning.DONE)
        notified = (_notified(content) for kind, content in payloads if kind == _NOTIFY)
        return next((said for said in notified if said is not None), Answer(Meaning.GARBAGE))


def first_group(proposal: str) -> int:
    """Give the group that a proposal in strongSwan's words names first; the default where it names none."""
    named = [
        _GROUP_NAMES[word] for word in proposal.lower().replace(",", "-").split("-") if word in _GROUP_NAMES
    ]
    return named[0] if named else GROUPS[0]


def _payloads(datagram: bytes, first: int) -> Iterator[tuple[int, bytes]]:
    """Give kind and content of each payload.

    Raises:
        ValueError: one of them is not as long as it says.
    """
    kind, at = first, _HEADER.size
    while kind:
        if at + _PAYLOAD.size > len(datagram):
            raise ValueError("cut short")
        following, _, length = _PAYLOAD.unpack_from(datagram, at)
        if length < _PAYLOAD.size or at + length > len(datagram):
            raise ValueError("a payload of a wrong length")
        content = datagram[at + _PAYLOAD.size : at + length]
        yield kind, content
        kind, at = following, at + length


def _notified(content: bytes) -> Answer | None:
    """Give what a notification means, or None: nothing to this exchange."""
    if len(content) < _PAYLOAD.size:
        return None
    _, spi_bytes, kind = _PAYLOAD.unpack_from(content)
    data = content[_PAYLOAD.size + spi_bytes :]
    if kind == _COOKIE and data:
        return Answer(Meaning.COOKIE, data=data)
    if kind == _INVALID_KE and len(data) == 2:  # noqa: PLR2004 -- a group's number
        return Answer(Meaning.OTHER_GROUP, number=int.from_bytes(data))
    if kind == _NO_PROPOSAL:
        return Answer(Meaning.NO_PROPOSAL)
    return Answer(Meaning.ERROR, number=kind) if kind < _FIRST_STATUS else None


def _offer() -> bytes:
    """Everything in use, in two proposals: ciphers that authenticate, and those beside an integrity."""
    rest = [*((_PRF, number, 0) for number in _PRFS), *((_GROUP, number, 0) for number in GROUPS)]
    combined = [*((_ENCRYPTION, _GCM, bits) for bits in _KEY_BITS), *rest]
    classic = [
        *((_ENCRYPTION, _CBC, bits) for bits in _KEY_BITS),
        *((_INTEGRITY, number, 0) for number in _INTEGRITIES),
        *rest,
    ]
    return _proposal(1, combined, more=True) + _proposal(2, classic, more=False)


def _proposal(number: int, transforms: Sequence[tuple[int, int, int]], *, more: bool) -> bytes:
    body = b""
    for at, (kind, identifier, bits) in enumerate(transforms, 1):
        attribute = struct.pack(">HH", _KEY_LENGTH, bits) if bits else b""
        last = 0 if at == len(transforms) else 3
        body += struct.pack(">BBHBBH", last, 0, 8 + len(attribute), kind, 0, identifier) + attribute
    return struct.pack(">BBHBBBB", 2 if more else 0, 0, 8 + len(body), number, 1, 0, len(transforms)) + body


def _public_value(group: int) -> bytes:
    """Our half of a key exchange that is never ended: nobody computes its secret, so none is kept."""
    if group in _CURVES:
        key = ec.generate_private_key(_CURVES[group]())
        return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
    if group == _CURVE25519:
        return os.urandom(32)  # every string of 32 bytes is a point
    # Every number below the prime will do, and every prime of these begins with 0xff.
    return b"\x7f" + os.urandom(_MODP_BYTES[group] - 1)
