"""WireGuard's handshake as messages: an initiation, and what an answer to it proves. No socket.

Source: Donenfeld, "WireGuard: Next Generation Kernel Network Tunnel", section 5.4; the Noise protocol
framework, pattern IKpsk2.
"""

import hashlib
import hmac
import struct
from enum import Enum, auto

from attrs import field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
_IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
_LABEL_MAC1 = b"mac1----"
_TAI_EPOCH = 0x400000000000000A  # TAI64 label of 1970 with the ten leap seconds of that time
_NONCE_ZERO = bytes(12)
_INITIATION, _RESPONSE, _COOKIE = b"\x01\0\0\0", b"\x02\0\0\0", b"\x03\0\0\0"
_RESPONSE_BYTES, _COOKIE_BYTES = 92, 64
_NO_PSK = bytes(32)


class Meaning(Enum):
    """What a datagram is, that came back on an initiation."""

    AUTHENTIC = auto()
    """The server's response: it knows our key, and has the key of its own that it should have."""
    COOKIE = auto()
    """It is under load and wants proof of our address first."""
    OTHER_KEYS = auto()
    """A response to this initiation, made with other keys than the profile's: of old, the preshared one."""
    GARBAGE = auto()
    """No answer of WireGuard's to this initiation."""


@frozen
class Keys:
    """What both sides know beforehand, 32 bytes each; `preshared` None = there is none."""

    private: bytes = field(repr=False)
    server_public: bytes
    preshared: bytes | None = field(repr=False)


class Initiation:
    """One initiation of a handshake.

    Attributes:
        packet: the 148 bytes to send.
    """

    def __init__(self, keys: Keys, *, ephemeral: bytes, index: bytes, unix_ns: int) -> None:
        """Make it.

        Args:
            keys: ours and the server's.
            ephemeral: 32 random bytes, never used before.
            index: 4 random bytes by which the answer is known.
            unix_ns: the time; a server takes no initiation older than one it has had.
        """
        self._keys = keys
        self._index = index
        self._static = X25519PrivateKey.from_private_bytes(keys.private)
        self._ephemeral = X25519PrivateKey.from_private_bytes(ephemeral)
        server = X25519PublicKey.from_public_bytes(keys.server_public)
        ephemeral_public = self._ephemeral.public_key().public_bytes_raw()
        chain = _hash(_CONSTRUCTION)
        seen = _hash(_hash(chain, _IDENTIFIER), keys.server_public)
        (chain,) = _derive(chain, ephemeral_public, 1)
        seen = _hash(seen, ephemeral_public)
        chain, key = _derive(chain, self._ephemeral.exchange(server), 2)
        sealed_static = _seal(key, self._static.public_key().public_bytes_raw(), seen)
        seen = _hash(seen, sealed_static)
        chain, key = _derive(chain, self._static.exchange(server), 2)
        sealed_time = _seal(key, _tai64n(unix_ns), seen)
        self._chain, self._seen = chain, _hash(seen, sealed_time)
        body = _INITIATION + index + ephemeral_public + sealed_static + sealed_time
        mac_key = _hash(_LABEL_MAC1, keys.server_public)
        mac1 = hashlib.blake2s(body, key=mac_key, digest_size=16).digest()
        self.packet = body + mac1 + bytes(16)

    def judge(self, datagram: bytes) -> Meaning:
        """Say what `datagram` is."""
        if len(datagram) == _COOKIE_BYTES and datagram[:8] == _COOKIE + self._index:
            return Meaning.COOKIE
        if len(datagram) != _RESPONSE_BYTES or datagram[:4] != _RESPONSE or datagram[8:12] != self._index:
            return Meaning.GARBAGE
        return Meaning.AUTHENTIC if self._opens(datagram[12:44], datagram[44:60]) else Meaning.OTHER_KEYS

    def _opens(self, theirs: bytes, sealed: bytes) -> bool:
        """Is `sealed` made by who has the server's key, for this initiation? `theirs`: its ephemeral key."""
        (chain,) = _derive(self._chain, theirs, 1)
        seen = _hash(self._seen, theirs)
        try:
            server = X25519PublicKey.from_public_bytes(theirs)
            (chain,) = _derive(chain, self._ephemeral.exchange(server), 1)
            (chain,) = _derive(chain, self._static.exchange(server), 1)
            chain, tau, key = _derive(chain, self._keys.preshared or _NO_PSK, 3)
            ChaCha20Poly1305(key).decrypt(_NONCE_ZERO, sealed, _hash(seen, tau))
        except (InvalidTag, ValueError):  # ValueError: a point that makes the shared secret all zero
            return False
        return True


def _hash(*parts: bytes) -> bytes:
    return hashlib.blake2s(b"".join(parts)).digest()


def _derive(key: bytes, data: bytes, count: int) -> list[bytes]:
    """HKDF with BLAKE2s: `count` keys of 32 bytes."""
    secret = hmac.digest(key, data, "blake2s")
    keys, last = [], b""
    for number in range(1, count + 1):
        last = hmac.digest(secret, last + bytes([number]), "blake2s")
        keys.append(last)
    return keys


def _seal(key: bytes, plain: bytes, seen: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(_NONCE_ZERO, plain, seen)


def _tai64n(unix_ns: int) -> bytes:
    return struct.pack(">QI", _TAI_EPOCH + unix_ns // 10**9, unix_ns % 10**9)
