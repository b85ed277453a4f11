"""What a CDN says of itself in headers: cache status, age, point of presence. No socket, no clock."""

import re
from collections.abc import Mapping

MAX_WORD = 32
_MAX_AGE_S = 2**31 - 1  # RFC 9111 section 1.2.2: greater values count as this
# RFC 9211 section 2.2: why the cache went forward -> our word.
_FORWARDED = {
    "bypass": "bypass", "method": "bypass", "request": "bypass", "uri-miss": "miss", "vary-miss": "miss",
    "miss": "miss", "partial": "miss", "stale": "expired",
}  # fmt: skip
# In this order: TCP_STALE_HIT is stale, TCP_EXPIRED_MISS expired, RefreshHit a hit.
_WORDS = (
    ("stale", "stale"), ("updating", "stale"), ("expired", "expired"), ("hit", "hit"), ("miss", "miss"),
    ("bypass", "bypass"), ("pass", "bypass"), ("uncacheable", "bypass"), ("dynamic", "dynamic"),
)  # fmt: skip


def cache_status(headers: Mapping[str, str]) -> str | None:
    """hit, miss, stale, bypass, expired, dynamic, or the header's first word; None when none says. **Pure.**

    Of several caches on the way the one nearest to us counts.

    Args:
        headers: lower-case names; repeated ones joined by commas.

    Source: RFC 9211 section 2; the CDNs' own manuals for X-Cache and CF-Cache-Status.
    """
    if (told := headers.get("cache-status")) and (status := _rfc9211(_last_of(told))):
        return status
    for name in ("cf-cache-status", "x-cache", "x-cache-status"):
        if told := headers.get(name):
            return _plain(_last_of(told))
    return None


def _last_of(value: str) -> str:
    """The last member of a comma-separated list; commas in quotes do not separate."""
    members = re.findall(r'(?:[^,"]|"[^"]*"?)+', value)
    return members[-1].strip() if members else ""


def _rfc9211(member: str) -> str | None:
    parameters: dict[str, str] = {}
    for part in member.split(";")[1:]:
        name, _, value = part.strip().partition("=")
        parameters[name.lower()] = value.strip().strip('"').lower()
    if "hit" in parameters:
        return "stale" if parameters.get("ttl", "").startswith("-") else "hit"
    forwarded = parameters.get("fwd")
    return _FORWARDED.get(forwarded, forwarded[:MAX_WORD] or None) if forwarded is not None else None


def _plain(value: str) -> str | None:
    low = value.lower()
    for sign, word in _WORDS:
        if sign in low:
            return word
    word_found = re.search(r"[a-z][a-z0-9_-]*", low)
    return word_found.group()[:MAX_WORD] if word_found else None


def cache_age_s(headers: Mapping[str, str]) -> int | None:
    """Header Age [s]; None when absent or no number. **Pure.** Source: RFC 9111 section 5.1."""
    value = headers.get("age", "").partition(",")[0].strip()
    return min(int(value), _MAX_AGE_S) if re.fullmatch(r"[0-9]{1,20}", value) else None


def point_of_presence(headers: Mapping[str, str]) -> str | None:
    """The place that answered, as the CDN names it (AMS, AMS54-C1); None when it does not say. **Pure.**"""
    if found := re.search(r"-([A-Z]{3})\s*$", headers.get("cf-ray", "")):
        return found.group(1)
    if pop := headers.get("x-amz-cf-pop", "").strip():
        return pop[:MAX_WORD]
    if served_by := _last_of(headers.get("x-served-by", "")):
        place = re.search(r"-([A-Z]{3})$", served_by)
        return place.group(1) if place else served_by[:MAX_WORD]
    return None
