"""WireGuard keys, as files write them: base64 of 32 bytes."""

import base64
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One WireGuard identity."""

    private: str
    public: str


def new() -> KeyPair:
    """Make a pair."""
    key = X25519PrivateKey.generate()
    return KeyPair(_text(key.private_bytes_raw()), _text(key.public_key().public_bytes_raw()))


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
