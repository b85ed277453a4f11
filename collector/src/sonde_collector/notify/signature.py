"""The signature of a JSON message: HMAC-SHA256 over its time and its body. **Pure**.

A receiver computes it anew over the bytes that came, compares in constant time, and refuses a time that is
more than a few minutes off, so that what somebody recorded can't be played again.
"""

import datetime as dt
import hashlib
import hmac
from collections.abc import Mapping

TIMESTAMP = "Sonde-Timestamp"
SIGNATURE = "Sonde-Signature"


def sign(secret: str, body: bytes, now: dt.datetime) -> Mapping[str, str]:
    """Give the two headers: seconds since 1970, and "v1=" with the HMAC in hex of "SECONDS.BODY"."""
    seconds = str(int(now.timestamp()))
    digest = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return {TIMESTAMP: seconds, SIGNATURE: f"v1={digest}"}
