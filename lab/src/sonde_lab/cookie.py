"""Cookie replies of a WireGuard server under load.

Source: "WireGuard: Next Generation Kernel Network Tunnel", sections 5.4.4 and 5.4.7; XChaCha20 as in
draft-irtf-cfrg-xchacha.
"""

import base64
import hashlib
import os
import struct

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

_INITIATION, _COOKIE_REPLY = 1, 3
_LENGTH, _MAC1 = 148, 116


class Cookies:
    """What one server answers.

    Args:
        public: the server's key, base64.
    """

    def __init__(self, public: str) -> None:
        raw = base64.b64decode(public)
        self._mac1 = hashlib.blake2s(b"mac1----" + raw).digest()
        self._key = hashlib.blake2s(b"cookie--" + raw).digest()
        self._secret = os.urandom(32)

    def reply(self, message: bytes, source: bytes) -> bytes | None:
        """Give the reply to an initiation that is meant for this server, else None.

        Args:
            message: a datagram.
            source: who sent it, in whatever form.
        """
        if len(message) != _LENGTH or message[0] != _INITIATION:
            return None
        mac1 = message[_MAC1 : _MAC1 + 16]
        if hashlib.blake2s(message[:_MAC1], key=self._mac1, digest_size=16).digest() != mac1:
            return None
        cookie = hashlib.blake2s(source, key=self._secret, digest_size=16).digest()
        nonce = os.urandom(24)
        aead = ChaCha20Poly1305(subkey(self._key, nonce[:16]))
        sealed = aead.encrypt(bytes(4) + nonce[16:], cookie, mac1)
        return struct.pack("<B3x4s24s32s", _COOKIE_REPLY, message[4:8], nonce, sealed)


def subkey(key: bytes, nonce: bytes) -> bytes:
    """Give HChaCha20 of a key of 32 and a nonce of 16 bytes. **Pure.**"""
    state = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I4I", key + nonce)]
    for _ in range(10):
        for at in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            _quarter(state, *at)
        for at in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            _quarter(state, *at)
    return struct.pack("<8I", *state[:4], *state[12:])


def _quarter(state: list[int], a: int, b: int, c: int, d: int) -> None:
    for to, by, rotated, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[to] = (state[to] + state[by]) & 0xFFFF_FFFF
        mixed = state[rotated] ^ state[to]
        state[rotated] = (mixed << bits | mixed >> (32 - bits)) & 0xFFFF_FFFF
