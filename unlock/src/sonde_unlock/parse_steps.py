"""Steps: what is sent, and what is kept of the answers."""

import re
from typing import Any

from sonde_unlock.document import Node
from sonde_unlock.guards import DOMAIN
from sonde_unlock.model import (
    MAX_FOLLOW,
    MAX_STEPS,
    Capture,
    ForEach,
    RequestSpec,
    Step,
    Transform,
)
from sonde_unlock.parse_conditions import conditions, header_name, json_path

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}\Z")
SCHEME = re.compile(r"https?://[^/?#@\s]+([/?#]|\Z)|\{[a-z][a-z0-9_]*\}", re.IGNORECASE)
METHODS = ("GET", "POST", "PUT", "HEAD", "OPTIONS")
PLAIN_SOURCES = ("json", "body", "location", "final_url", "url_path")
NAMED_SOURCES = ("header", "cookie", "var")
TRANSFORMS = ("upper", "lower", "alpha3to2", "base64")
OUR_OWN_HEADERS = ("host", "content-length", "transfer-encoding", "connection", "cookie")


def name(node: Node) -> str:
    """Read a name that may stand in {braces}."""
    text = node.text()
    if text and not NAME.match(text):
        node.wrong(f"{text!r} is no name: a small letter, then small letters, digits and _")
    return text


def steps(node: Node) -> tuple[Step, ...]:
    """Read all steps."""
    return tuple(_step(part) for part in node.entries(MAX_STEPS, 1))


def headers(node: Node) -> tuple[tuple[str, str], ...]:
    """Read headers that are sent, in their order."""
    read = []
    for key, part in node.named(40).items():
        if header_name(part, key) in OUR_OWN_HEADERS:
            part.wrong(f"{key} is set by the engine; for cookies, use `cookies`")
        if "\n" in (text := part.text(4000, empty=True)):
            part.wrong("a header is one line")
        read.append((key, text))
    return tuple(read)


def _step(node: Node) -> Step:
    parts = node.table(["id", "request"], ["for_each", "run_if", "fallback", "capture", "allow_host"])
    for_each = None
    if "for_each" in parts:
        loop = parts["for_each"].table(["var", "in"])
        if len(loop) == 2:  # noqa: PLR2004 - both keys are there
            for_each = ForEach(name(loop["var"]), loop["in"].text())
    hosts = parts["allow_host"].one_or_more(10) if "allow_host" in parts else []
    return Step(
        id=name(parts["id"]) if "id" in parts else "",
        request=_request(parts["request"]) if "request" in parts else RequestSpec("GET", ""),
        for_each=for_each,
        run_if=conditions(parts["run_if"]) if "run_if" in parts else (),
        fallback=parts["fallback"].text() if "fallback" in parts else "",
        captures=tuple(_capture(part) for part in parts["capture"].entries(20)) if "capture" in parts else (),
        allow_host=tuple(_domain(part) for part in hosts),
    )


def _domain(node: Node) -> str:
    text = node.text(300)
    if text and not DOMAIN.match(text):
        node.wrong(
            f"{text!r} must be a domain name, such as example.com: hosts below it count, no pattern is meant"
        )
    return text


def _request(node: Node) -> RequestSpec:
    parts = node.table(["method", "url"], ["headers", "cookies", "json", "form", "raw", "follow"])
    url = parts["url"].text() if "url" in parts else ""
    if url and not SCHEME.match(url):
        parts["url"].wrong("must begin with https:// or http:// and a host, or with a {captured} link")
    kinds = [kind for kind in ("json", "form", "raw") if kind in parts]
    if len(kinds) > 1:
        node.wrong(f"has more than one body: {' and '.join(kinds)}")
    method = parts["method"].choice(METHODS) if "method" in parts else "GET"
    if kinds and method in ("GET", "HEAD"):
        node.wrong(f"{method} has no body")
    cookies = parts["cookies"].named(20) if "cookies" in parts else {}
    return RequestSpec(
        method=method,
        url=url,
        headers=headers(parts["headers"]) if "headers" in parts else (),
        cookies=tuple(
            (_cookie_name(part, key), part.text(4000, empty=True)) for key, part in cookies.items()
        ),
        body_kind=kinds[0] if kinds else "",
        body=_body(kinds[0], parts[kinds[0]]) if kinds else None,
        follow=parts["follow"].whole(0, MAX_FOLLOW) if "follow" in parts else 0,
    )


def _cookie_name(node: Node, text: str) -> str:
    header_name(node, text)
    return text


def _body(kind: str, node: Node) -> Any:
    if kind == "form":
        return {key: part.text(4000, empty=True) for key, part in node.named(60).items()}
    if kind == "raw":
        return node.text(8000, empty=True)
    if not isinstance(node.value, dict | list):
        node.wrong("must be a table or a list")
    return node.value


def _capture(node: Node) -> Capture:
    parts = node.table(["name", "from"], ["path", "regex", "all", "transform", "required"])
    source, of = _source(parts["from"]) if "from" in parts else ("body", "")
    looked_for = [key for key in ("path", "regex") if key in parts]
    if len(looked_for) == 2:  # noqa: PLR2004 - both
        node.wrong("has both path and regex; capture the value first, then again `from: var:NAME`")
    elif source == "json" and looked_for != ["path"]:
        node.wrong("from: json needs a path")
    elif source == "body" and looked_for != ["regex"]:
        node.wrong("from: body needs a regex")
    elif "path" in parts and source not in ("json", "var"):
        parts["path"].wrong("a path goes into JSON: from: json, or from: var:NAME")
    pattern = parts["regex"].pattern() if "regex" in parts else None
    if pattern is not None and pattern.groups > 1:
        parts["regex"].wrong("has more than one group; write (?:...) for what is not captured")
    transforms = parts["transform"].one_or_more(4) if "transform" in parts else []
    return Capture(
        name=name(parts["name"]) if "name" in parts else "",
        source=source,
        of=of,
        path=json_path(parts["path"]) if "path" in parts else (),
        pattern=pattern,
        every=parts["all"].flag() if "all" in parts else False,
        transforms=tuple(_transform(part) for part in transforms),
        required=parts["required"].flag() if "required" in parts else False,
    )


def _source(node: Node) -> tuple[str, str]:
    text = node.text(120)
    kind, colon, of = text.partition(":")
    if not colon and kind in PLAIN_SOURCES:
        return kind, ""
    if colon and kind in NAMED_SOURCES and of:
        if kind == "header":
            return kind, header_name(node, of)
        if kind == "cookie":
            header_name(node, of)
        return kind, of
    if text:
        known = [*PLAIN_SOURCES, *(f"{source}:NAME" for source in NAMED_SOURCES)]
        node.wrong(f"must be one of: {', '.join(known)}")
    return "body", ""


def _transform(node: Node) -> Transform:
    if isinstance(node.value, dict):
        parts = node.table(["map"])
        entries = parts["map"].named(300) if "map" in parts else {}
        return Transform("map", {key: part.text(200, empty=True) for key, part in entries.items()})
    return Transform(node.choice(TRANSFORMS))
