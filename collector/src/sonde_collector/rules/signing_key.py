"""A key that signs packs of rules: a file that only its owner can read, made once."""

import base64
import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)


def make(path: Path) -> bytes:
    """Write a new Ed25519 key to `path` (PEM, PKCS #8, mode 0600) and give it.

    Raises:
        FileExistsError: something is there already; a signing key is never overwritten.
        OSError: the file can't be written.
    """
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    return pem


def public(pem: bytes, name: str = "the key") -> str:
    """Give the public half of a signing key, as agent.toml has it: "ed25519:BASE64". **Pure**.

    Raises:
        ValueError: `pem` is no such key; the message begins with `name`.
    """
    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):  # also a good key of another kind
        raise ValueError(  # noqa: TRY004  # of a file's content, for its user
            f"{name} is no Ed25519 key without a password (`sonde-collector rules key` makes one)"
        )
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"ed25519:{base64.b64encode(raw).decode()}"
