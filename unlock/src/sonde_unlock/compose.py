"""From a step and the values so far to the request that goes out, and from a redirect to the next one."""

import json
import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode, urljoin

import attrs

from sonde_unlock.exchange import Exchange, Request
from sonde_unlock.guards import MAX_URL, refused, split
from sonde_unlock.jar import Jar
from sonde_unlock.model import Rule, Step, Value
from sonde_unlock.template import CannotFill, fill, fill_document, names

MAX_HEADER = 16_384
MAX_BODY = 131_072
REDIRECTS = (301, 302, 303, 307, 308)
TO_GET = (301, 302, 303)
SECRET_HEADERS = ("authorization", "cookie", "proxy-authorization")
AUTHORITY = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
RESERVED = "%:/?#[]@!$&'()*+,;=~"


def from_answers(rule: Rule, step: Step) -> frozenset[str]:
    """Give the names whose values come from answers, as this step sees them. **Pure.**"""
    captured = {capture.name for one in rule.steps for capture in one.captures}
    if step.for_each and step.for_each.source in captured:
        captured.add(step.for_each.variable)
    return frozenset(captured)


def where_to(url: str) -> tuple[str, str]:
    """Split a URL template: what says whom is asked, and the rest. **Pure.**

    A template that begins with {NAME} says whom in all its parts.
    """
    match = AUTHORITY.match(url)
    return (match[0], url[match.end() :]) if match else (url, "")


def compose(rule: Rule, step: Step, values: Mapping[str, Value], jar: Jar) -> Request:
    """Make a step's first request. **Pure.**

    Raises:
        CannotFill: when a value is missing, too long or unfit for its place, or the URL may not be asked.
    """
    spec = step.request
    whom, rest = where_to(spec.url)
    url = fill(whom, values, MAX_URL) + fill(rest, values, MAX_URL, lambda text: quote(text, safe="/"))
    if step.allow_host or from_answers(rule, step) & set(names(whom)):
        if not step.allow_host:
            raise CannotFill("whom it asks comes from an answer, and the step has no allow_host")
        if reason := refused(url, step.allow_host):
            raise CannotFill(f"its URL may not be asked: {reason}")
    parts = split(url)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise CannotFill("its URL is none that can be asked")
    overriding = {name.lower() for name, _ in spec.headers}
    kept = [(name, text) for name, text in rule.client.headers if name.lower() not in overriding]
    headers = [(name, _line(fill(text, values, MAX_HEADER))) for name, text in (*kept, *spec.headers)]
    body, kind = _body(step, values)
    if kind and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("content-type", kind))
    own = tuple((name, _cookie(fill(text, values, MAX_HEADER))) for name, text in spec.cookies)
    request = Request(
        step=step.id,
        method=spec.method,
        url=url.partition("#")[0],
        headers=tuple(headers),
        body=body,
        profile=rule.client.profile,
        timeout_s=rule.client.timeout_s,
    )
    return _sent(request, jar, own)


def redirected(exchange: Exchange, step: Step, jar: Jar) -> Request | str | None:
    """Make the request that a redirect asks for; None = it is no redirect; a text = why it isn't followed."""
    location = exchange.header("location")
    if exchange.status not in REDIRECTS or not location:
        return None
    asked = exchange.request
    try:
        url = urljoin(asked.url, quote(location.strip(), safe=RESERVED)).partition("#")[0]
    except ValueError:
        return "its target is no URL"
    if reason := refused(url, step.allow_host):
        return f"its target may not be asked: {reason}"
    target, origin = split(url), split(asked.url)
    dropped = {"cookie"}
    if (
        target is None
        or origin is None
        or (target.hostname, target.scheme) != (origin.hostname, origin.scheme)
    ):
        dropped |= set(SECRET_HEADERS)
    method, body = asked.method, asked.body
    if exchange.status in TO_GET and method not in ("GET", "HEAD"):
        method, body = "GET", b""
        dropped.add("content-type")
    headers = tuple((name, text) for name, text in asked.headers if name.lower() not in dropped)
    following = attrs.evolve(asked, method=method, url=url, headers=headers, body=body)
    return _sent(following, jar, ())


def _sent(request: Request, jar: Jar, own: tuple[tuple[str, str], ...]) -> Request:
    cookie = jar.header(request.url, own)
    return attrs.evolve(request, headers=(*request.headers, ("cookie", cookie))) if cookie else request


def _line(text: str) -> str:
    if not (text.isascii() and text.isprintable()):
        raise CannotFill("a header's value is no line of plain characters")
    return text


def _cookie(text: str) -> str:
    if ";" in text:
        raise CannotFill("a cookie's value holds a semicolon")
    return _line(text)


def _body(step: Step, values: Mapping[str, Value]) -> tuple[bytes, str]:
    spec = step.request
    if not spec.body_kind:
        return b"", ""
    filled = fill_document(spec.body, values, MAX_BODY)
    if spec.body_kind == "json":
        text = json.dumps(filled, ensure_ascii=False, separators=(",", ":"))
        return text.encode(errors="replace"), "application/json"
    if spec.body_kind == "form":
        return urlencode(filled, errors="replace").encode(), "application/x-www-form-urlencoded"
    return filled.encode(errors="replace"), "text/plain;charset=UTF-8"
