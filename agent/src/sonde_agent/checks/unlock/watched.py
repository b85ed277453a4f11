"""An exchange for who watches: as data for `--record`, as a scrubbed line for `--trace`. **Pure.**"""

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from sonde_unlock.exchange import Exchange, Request

REDACTED = "REDACTED"
LONGEST_VALUE = 40
"""Of a query's value that is shown: a longer one may be a token."""
_LEAST_SECRET = 4
_SECRET_NAME = re.compile(r"(?i)token|secret|session|auth|signature|password|key")


def host_of(request: Request) -> str:
    """Give the host that a request asks, as it is looked up."""
    return urlsplit(request.url).hostname or ""


def document(exchange: Exchange, hidden: Iterable[str], **about: object) -> dict[str, Any]:
    """Give an exchange as plain data: the fields of `Exchange` and `Request`.

    Cookies and tokens that the platform gave stay, because later steps bring them back: who makes a cassette
    of it takes them out.

    Args:
        exchange: what was said.
        hidden: secrets of the operator and addresses of the exit; wherever one stands, it is taken out.
        about: what else is to be told beside.
    """
    secrets = sorted((text for text in hidden if len(text) >= _LEAST_SECRET), key=len, reverse=True)

    def hide(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, REDACTED)
        return text

    def told(body: bytes) -> dict[str, str]:
        try:
            return {"text": hide(body.decode())}
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(body).decode()}

    request = exchange.request
    return {
        **about,
        "request": {
            "step": request.step,
            "method": request.method,
            "url": hide(request.url),
            "headers": [[name, hide(value)] for name, value in request.headers],
            "profile": request.profile,
            "body": told(request.body),
        },
        "status": exchange.status,
        "headers": [[name, hide(value)] for name, value in exchange.headers],
        "body": told(exchange.body),
        "body_bytes": len(exchange.body),
        "truncated": exchange.truncated,
        "error": str(exchange.error) if exchange.error else "",
        "detail": hide(exchange.detail),
        "elapsed_ms": round(exchange.elapsed_ms, 3),
        "phases": dict(exchange.phases),
        "address": exchange.address,
        "http_version": exchange.http_version,
    }


def line(told: Mapping[str, Any]) -> str:
    """Give an exchange in one line: no cookie, no body, no value of a query that may be a token."""
    request = told["request"]
    parts = urlsplit(request["url"])
    query = f"?{_query(parts.query)}" if parts.query else ""
    asked = f"{request['step']:<10} {request['method']} {parts.hostname}{parts.path or '/'}{query}"
    phases = " ".join(f"{name.replace('_', ' ')} {ms:.1f}" for name, ms in told["phases"].items())
    sent = len(request["body"].get("text") or request["body"].get("base64", ""))
    sizes = f"sent {sent}, got {told['body_bytes']} bytes" + (", cut" if told["truncated"] else "")
    if told["error"]:
        came = f"{told['error']}: {told['detail']}"
    else:
        names = ", ".join(dict.fromkeys(name for name, _ in told["headers"]))
        came = f"{told['status']} HTTP/{told['http_version']} [{names}]"
    return f"{asked} → {came} ({sizes}; {phases} ms; {told['address'] or 'no address'})"


def _query(query: str) -> str:
    pairs = parse_qsl(query, keep_blank_values=True)
    return urlencode(
        [
            (name, REDACTED if len(value) > LONGEST_VALUE or _SECRET_NAME.search(name) else value)
            for name, value in pairs
        ]
    )
