"""Tokens of API keys: how they are made and what is kept of them. **Pure**.

A token is 256 random bits, so nobody guesses it and nobody finds it from its SHA-256: what a slow hash does
for passwords that people choose would only make each request dearer.
"""

import hashlib
import re
import secrets

PREFIX = "sonde_"
_TOKEN = re.compile(r"sonde_[A-Za-z0-9_-]{43}")
_RANDOM_BYTES = 32


def new() -> str:
    """Give a token that was never given before."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest(token: str) -> bytes:
    """Give what is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def bearer(authorization: str) -> str | None:
    """Give the token of an Authorization header's value; None where it holds none of ours."""
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and _TOKEN.fullmatch(token) else None
