"""What may be done to a captured text."""

import base64
import binascii

from sonde_unlock.model import Scalar, Transform
from sonde_unlock.regions import ALPHA3
from sonde_unlock.template import as_text


def transformed(value: Scalar, transforms: tuple[Transform, ...]) -> Scalar | None:
    """Apply transforms in their order; None = one of them has no result. **Pure.**"""
    for transform in transforms:
        new = _one(as_text(value), transform)
        if new is None:
            return None
        value = new
    return value


def _one(text: str, transform: Transform) -> str | None:
    if transform.kind == "upper":
        return text.upper()
    if transform.kind == "lower":
        return text.lower()
    if transform.kind == "alpha3to2":
        return ALPHA3.get(text.upper())
    if transform.kind == "map":
        return transform.table.get(text)
    try:
        padded = text.replace("-", "+").replace("_", "/")
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
