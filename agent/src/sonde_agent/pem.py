"""The first certificate of a PEM file: the leaf of a chain."""

import ssl
from pathlib import Path

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def first_der(path: Path) -> bytes:
    """Give it in DER.

    Raises:
        OSError: the file can't be read.
        ValueError: it holds none.
    """
    text = path.read_text(encoding="ascii", errors="replace")
    start = text.find(_BEGIN)
    if start < 0 or _END not in text[start:]:
        raise ValueError(f"{path}: holds no PEM certificate")
    return ssl.PEM_cert_to_DER_cert(text[start : text.index(_END, start) + len(_END)])
