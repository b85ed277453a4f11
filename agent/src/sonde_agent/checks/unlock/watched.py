"""An exchange for a person who watches, and for a cassette: without cookies, tokens and secrets. **Pure.**"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from sonde_unlock.exchange import Exchange, Request

REDACTED = "REDACTED"
LONGEST_VALUE = 40
"""Of a query's value that is told as it is: longer ones may be tokens."""
_LEAST_SECRET = 4
_SECRET_HEADERS = frozenset(
    ("authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key")
)
_TOKEN = re.compile(r"(?i)token|secret|session|auth|signature|password")
_COOKIE_VALUE = re.compile(r"=[^;,]*")


def host_of(request: Request) -> str:
    """Give the host that a request asks, as it is looked up."""
    return urlsplit(request.url).hostname or ""


def document(
    slug: str, family: int, resolver: str, exchange: Exchange, secrets: Mapping[str, str]
) -> dict[str, Any]:
    """Give an exchange as plain data.

    Args:
        slug: of the rule.
        family: that was asked over.
        resolver: who was asked for the name.
        exchange: what was said.
        secrets: of the operator, by name; wherever one stands, it is taken out.
    """
    hidden = sorted(filter(_is_long, secrets.values()), key=len, reverse=True)

    def hide(text: str) -> str:
        for secret in hidden:
            text = text.replace(secret, REDACTED)
        return text

    request = exchange.request
    parts = urlsplit(request.url)
    told: dict[str, Any] = {
        "rule": slug,
        "family": family,
        "resolver": resolver,
        "step": request.step,
        "method": request.method,
        "scheme": parts.scheme,
        "host": parts.hostname or "",
        "path": hide(parts.path or "/"),
        "query": hide(_query(parts.query)),
        "request_headers": [[name, hide(_header(name, value))] for name, value in request.headers],
        "request_body": hide(request.body.decode("utf-8", "replace")),
        "elapsed_ms": round(exchange.elapsed_ms, 3),
        "phases": dict(exchange.phases),
    }
    if exchange.error is not None:
        return {**told, "error": str(exchange.error), "detail": hide(exchange.detail)}
    return {
        **told,
        "status": exchange.status,
        "http": exchange.http_version,
        "headers": [[name, hide(_header(name, value))] for name, value in exchange.headers],
        "body": hide(exchange.body.decode("utf-8", "replace")),
        "body_bytes": len(exchange.body),
        "truncated": exchange.truncated,
    }


def _is_long(secret: str) -> bool:
    return len(secret) >= _LEAST_SECRET


def _header(name: str, value: str) -> str:
    lower = name.lower()
    if lower in ("cookie", "set-cookie"):
        first, semicolon, rest = value.partition(";")
        shown = _COOKIE_VALUE.sub(f"={REDACTED}", first if lower == "set-cookie" else value)
        return shown + (semicolon + rest if lower == "set-cookie" else "")
    if lower in _SECRET_HEADERS or _TOKEN.search(lower):
        return REDACTED
    return value


def _query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    return urlencode(
        [
            (name, REDACTED if len(value) > LONGEST_VALUE or _TOKEN.search(name) else value)
            for name, value in pairs
        ]
    )
