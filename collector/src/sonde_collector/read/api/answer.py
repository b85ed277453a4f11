"""Bodies as they go out: JSON, ETags, compression, problems. **Pure**."""

import gzip
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import attrs

JSON = "application/json"
PROBLEM = "application/problem+json"
_SECURITY = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"}
_WORTH_BYTES = 1024  # what is smaller fits one packet anyway
_LEVEL = 5
_ETAG = re.compile(r'(?:W/)?"([^"]*)"')
_CODING = re.compile(r"\s*([\w*-]+)\s*(?:;\s*q\s*=\s*([0-9.]+))?\s*")
# A reader may show an answer for a few seconds without asking, and must ask then; a shared cache keeps none.
CACHE_CONTROL = "private, max-age=5, must-revalidate"


@attrs.frozen
class Answer:
    """What goes out."""

    status: int
    body: bytes
    headers: Mapping[str, str]


@attrs.frozen
class Wanted:
    """What a request says of how it wants its answer."""

    accept_encoding: str = ""
    if_none_match: str = ""


def written(value: Any) -> bytes:
    """Give a body of JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def answer(body: bytes, media_type: str, wanted: Wanted, headers: Mapping[str, str] | None = None) -> Answer:
    """Give a good answer: 200, or 304 where the reader has it."""
    # Weak: the same body compressed and not is one answer.
    etag = f'W/"{hashlib.sha256(body).hexdigest()[:32]}"'
    common = {
        "ETag": etag,
        "Cache-Control": CACHE_CONTROL,
        "Vary": "Accept-Encoding, Authorization",
        **_SECURITY,
        **(headers or {}),
    }
    if matches(wanted.if_none_match, etag):
        return Answer(304, b"", common)
    common["Content-Type"] = media_type
    if len(body) > _WORTH_BYTES and takes_gzip(wanted.accept_encoding):
        body = gzip.compress(body, _LEVEL, mtime=0)
        common["Content-Encoding"] = "gzip"
    return Answer(200, body, common)


def problem(
    status: int,
    title: str,
    detail: str,
    parameter: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Give a bad answer, RFC 9457."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, "parameter": parameter}
    common = {"Content-Type": PROBLEM, "Cache-Control": "no-store", **_SECURITY}
    return Answer(status, written(body), {**common, **(headers or {})})


def matches(if_none_match: str, etag: str) -> bool:
    """Tell whether an If-None-Match header names `etag`, by the weak comparison of RFC 9110, 8.8.3.2."""
    if if_none_match.strip() == "*":
        return True
    return etag.removeprefix("W/").strip('"') in _ETAG.findall(if_none_match)


def takes_gzip(accept_encoding: str) -> bool:
    """Tell whether an Accept-Encoding header lets gzip in."""
    weights: dict[str, float] = {}
    for part in accept_encoding.lower().split(","):
        match = _CODING.fullmatch(part)
        if match is None:
            continue
        try:
            weights[match[1]] = float(match[2]) if match[2] else 1.0
        except ValueError:
            continue
    return weights.get("gzip", weights.get("*", 0.0)) > 0
