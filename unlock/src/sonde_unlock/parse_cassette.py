"""From a plain document to cassettes, or to every mistake in it."""

import base64
import binascii
import json
import re
from typing import Any

from sonde_unlock.cassette import (
    PLAIN_REFUSED,
    Cassette,
    Expected,
    Fault,
    FaultKind,
    Matcher,
    Recorded,
    Reply,
)
from sonde_unlock.document import Node, Places, Problem, RuleError, too_large
from sonde_unlock.parse import PROFILES, day, region, slug, version
from sonde_unlock.parse_conditions import header_name
from sonde_unlock.parse_steps import METHODS
from sonde_unlock.pattern import Pattern
from sonde_unlock.verdict import Verdict

SCHEMA = "unlock-cassettes/1"
PROVENANCE = ("synthetic", "from-tool-source", "recorded")
TYPES = {"json": "application/json", "text": "text/html; charset=utf-8", "base64": "application/octet-stream"}
WITH_REPLY = (FaultKind.SLOW_BODY, FaultKind.TRUNCATED)
MAX_BODY = 400_000
MARK = re.compile(r"<<([a-z][a-z0-9_]*)>>")
DEFAULTS = ("provenance", "captured_at", "rule_version", "client")
"""May stand once for the whole file, or in a cassette."""


def parse_cassettes(document: Any, places: Places) -> tuple[Cassette, ...]:
    """Make cassettes of a plain document. **Pure.**

    Raises:
        RuleError: with every mistake.
    """
    if reason := too_large(document, most_text=MAX_BODY):
        raise RuleError([Problem(0, f"the document holds {reason}")])
    node = Node(document, places=places)
    parts = node.table(["schema", "slug", "cassettes"], DEFAULTS)
    if "schema" in parts:
        parts["schema"].choice([SCHEMA])
    platform = slug(parts["slug"]) if "slug" in parts else ""
    defaults = {key: parts[key] for key in DEFAULTS if key in parts}
    entries = parts["cassettes"].entries(100, 1) if "cassettes" in parts else []
    cassettes = tuple(_cassette(entry, platform, defaults) for entry in entries)
    seen = set[tuple[str, int]]()
    for entry, cassette in zip(entries, cassettes, strict=True):
        if (cassette.behaviour, cassette.family) in seen:
            entry.wrong(f"the behaviour {cassette.behaviour!r} is there twice")
        seen.add((cassette.behaviour, cassette.family))
    if node.problems:
        raise RuleError(node.problems)
    return cassettes


def _cassette(node: Node, platform: str, defaults: dict[str, Node]) -> Cassette:
    optional = (*DEFAULTS, "country", "family", "tls", "plain", "secrets", "scrubbed")
    own = node.table(["behaviour", "exchanges", "expect"], optional)
    parts = {**defaults, **own}
    for key in ("provenance", "captured_at"):
        if key not in parts:
            node.wrong(f"{key!r} is missing, here and for the whole file")
    families = {"any": 0, 4: 4, 6: 6}
    family = parts["family"].value if "family" in parts else "any"
    if not isinstance(family, str | int) or isinstance(family, bool) or family not in families:
        parts["family"].wrong("must be any, 4 or 6")
        family = "any"
    secrets = parts["secrets"].named(10) if "secrets" in parts else {}
    cassette = Cassette(
        slug=platform,
        behaviour=slug(parts["behaviour"]) if "behaviour" in parts else "",
        country=region(parts["country"]) if "country" in parts else "",
        provenance=parts["provenance"].choice(PROVENANCE) if "provenance" in parts else "synthetic",
        exchanges=tuple(map(_recorded, parts["exchanges"].entries(40))) if "exchanges" in parts else (),
        expect=_expected(parts["expect"]) if "expect" in parts else Expected(Verdict.INCONCLUSIVE),
        family=families[family],
        captured_at=day(parts["captured_at"]) if "captured_at" in parts else "",
        rule_version=version(parts["rule_version"]) if "rule_version" in parts else "",
        client=parts["client"].choice(PROFILES) if "client" in parts else "browser",
        tls=parts["tls"].choice(("any", "browser")) if "tls" in parts else "any",
        plain=_reply(parts["plain"]) if "plain" in parts else Reply(PLAIN_REFUSED),
        secrets={key: part.text() for key, part in secrets.items()},
        scrubbed=tuple(part.text() for part in parts["scrubbed"].entries(60)) if "scrubbed" in parts else (),
    )
    if cassette.tls == "any" and "plain" in parts:
        parts["plain"].wrong("answers what is no browser: needs tls: browser")
    minted = {name for recorded in cassette.exchanges for name in recorded.mints}
    for number, recorded in enumerate(cassette.exchanges):
        for name in set(recorded.consumes) - minted:
            place = (*node.place, "exchanges", number, "consumes")
            Node(None, place, node.places, node.problems).wrong(f"no exchange mints {name!r}")
    return cassette


def _expected(node: Node) -> Expected:
    parts = node.table(["verdict"], ["scope", "region"])
    return Expected(
        Verdict(parts["verdict"].choice(tuple(Verdict))) if "verdict" in parts else Verdict.INCONCLUSIVE,
        parts["scope"].text(40, empty=True) if "scope" in parts else "",
        region(parts["region"]) if "region" in parts and parts["region"].value != "" else "",
    )


def _recorded(node: Node) -> Recorded:
    parts = node.table(["match"], ["reply", "fault", "mints", "consumes"])
    fault = FaultKind(parts["fault"].choice(tuple(FaultKind))) if "fault" in parts else None
    reply = _reply(parts["reply"]) if "reply" in parts else None
    if (fault is None or fault in WITH_REPLY) and reply is None:
        node.wrong("needs a reply" if fault else "needs a reply or a fault")
    elif fault is not None and fault not in WITH_REPLY and reply is not None:
        node.wrong(f"{fault} has no reply")
    mints = _names(parts, "mints")
    if reply is not None:
        marks = {mark for _, value in reply.headers for mark in MARK.findall(value)}
        marks |= {mark.decode() for mark in re.findall(MARK.pattern.encode(), reply.body)}
        for name in marks ^ set(mints):
            node.wrong(
                f"<<{name}>> stands in the reply and `mints: [{name}]` beside it: one of them is missing"
            )
    return Recorded(
        match=_matcher(parts["match"]) if "match" in parts else Matcher(""),
        outcome=Fault(fault, reply) if fault else reply or Reply(200),
        mints=mints,
        consumes=_names(parts, "consumes"),
    )


def _names(parts: dict[str, Node], key: str) -> tuple[str, ...]:
    return tuple(part.text(60) for part in parts[key].one_or_more(10)) if key in parts else ()


def _matcher(node: Node) -> Matcher:
    parts = node.table(["host"], ["method", "path", "path_pattern", "query", "headers", "cookies", "body"])
    if ("path" in parts) == ("path_pattern" in parts):
        node.wrong("must have a path, or a path_pattern")
    host = parts["host"].text(255) if "host" in parts else ""
    if host != host.lower():
        parts["host"].wrong("must be in small letters")
    query = parts["query"].named(40) if "query" in parts else {}
    return Matcher(
        host=host,
        method=parts["method"].choice(METHODS) if "method" in parts else "GET",
        path=parts["path"].text() if "path" in parts else "",
        path_pattern=parts["path_pattern"].pattern() if "path_pattern" in parts else None,
        query={key: part.text(empty=True) for key, part in query.items()},
        headers={key.lower(): known for key, known in _patterns(parts, "headers").items()},
        cookies=_patterns(parts, "cookies"),
        body=tuple(part.text() for part in parts["body"].one_or_more(20)) if "body" in parts else (),
    )


def _patterns(parts: dict[str, Node], key: str) -> dict[str, Pattern]:
    named = parts[key].named(40) if key in parts else {}
    for name, part in named.items():
        header_name(part, name)
    return {name: part.pattern() for name, part in named.items()}


def _reply(node: Node) -> Reply:
    parts = node.table(["status"], ["headers", *TYPES])
    kinds = [kind for kind in TYPES if kind in parts]
    if len(kinds) > 1:
        node.wrong(f"has more than one body: {' and '.join(kinds)}")
    headers: list[tuple[str, str]] = []
    for key, part in (parts["headers"].named(60) if "headers" in parts else {}).items():
        header_name(part, key)
        headers += [(key, value.text(8000, empty=True)) for value in part.one_or_more(20)]
    if kinds and not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("content-type", TYPES[kinds[0]]))
    return Reply(
        status=parts["status"].whole(200, 599) if "status" in parts else 200,
        headers=tuple(headers),
        body=_body(kinds[0], parts[kinds[0]]) if kinds else b"",
    )


def _body(kind: str, node: Node) -> bytes:
    if kind == "json":
        return json.dumps(node.value, ensure_ascii=False).encode(errors="replace")
    text = node.text(MAX_BODY, empty=True)
    if kind == "text":
        return text.encode(errors="replace")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        node.wrong("is no base64")
        return b""
