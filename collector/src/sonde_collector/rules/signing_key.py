"""A key that signs packs of rules: a file that only its owner can read, made once."""

import os
import stat
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_LARGEST = 10_000  # bytes


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


def read(path: Path) -> bytes:
    """Give the text of a signing key that is its owner's alone.

    Raises:
        ValueError: it is no plain file, or others can read it; the message says what to do.
        OSError: it can't be read.
    """
    if not path.is_file():
        raise ValueError(f"{path} is no plain file (`sonde-collector rules key {path}` makes a key)")
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise ValueError(f"{path} can be read by others: a signing key is its owner's alone (chmod 600)")
        return file.read(_LARGEST)
