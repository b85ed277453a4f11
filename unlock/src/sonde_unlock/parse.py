"""From a plain document to a rule, or to every mistake in it."""

import re
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, TypeVar

from sonde_unlock.document import Node, Places, Problem, RuleError, too_large
from sonde_unlock.model import (
    MAX_BODY_BYTES,
    MAX_TIMEOUT_S,
    Client,
    Entry,
    Evidence,
    Generated,
    Rule,
    Secret,
    Source,
)
from sonde_unlock.parse_conditions import conditions
from sonde_unlock.parse_steps import headers, name, steps
from sonde_unlock.references import check_references
from sonde_unlock.verdict import Level, Verdict

SCHEMA = "unlock-rule/1"
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*\Z")
VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,39}\Z")
PROFILES = ("browser", "android", "plain")
EXPECTED = ("expected", "unsupported", "unknown")
CONFIDENCE = ("low", "medium", "high")
REQUIRED = (
    *("schema", "slug", "name", "version", "checked_on", "confirmed_live", "enabled"),
    *("provenance", "confidence", "evidence", "families", "client", "steps", "verdicts"),
)
OPTIONAL = ("regions", "variables", "secrets", "lists")
SETTLED = (Verdict.UNSUPPORTED_FAMILY, Verdict.NETWORK_ERROR, Verdict.NOT_CONFIGURED)
"""Verdicts that the engine alone can give."""

T = TypeVar("T")


def parse(document: Any, places: Places) -> Rule:
    """Make a rule of a plain document (tables, lists, texts, numbers, true, false, null). **Pure.**

    Args:
        document: as YAML or JSON gives it.
        places: its lines, by path; empty when it has none.

    Raises:
        RuleError: with every mistake.
    """
    if reason := too_large(document):
        raise RuleError([Problem(0, f"the document holds {reason}")])
    node = Node(document, places=places)
    parts = node.table(REQUIRED, OPTIONAL)

    def part(key: str, read: Callable[[Node], T], otherwise: T) -> T:
        return read(parts[key]) if key in parts else otherwise

    part("schema", lambda one: one.choice([SCHEMA]), SCHEMA)
    rule = Rule(
        slug=part("slug", slug, ""),
        name=part("name", lambda one: one.text(80), ""),
        version=part("version", version, ""),
        checked_on=part("checked_on", day, ""),
        confirmed_live=part("confirmed_live", lambda one: "" if one.value is None else day(one), ""),
        enabled=part("enabled", lambda one: one.flag(), False),
        provenance=part("provenance", lambda one: tuple(map(_origin, one.entries(30, 1))), ()),
        confidence=part("confidence", lambda one: one.choice(CONFIDENCE), "low"),
        evidence=part("evidence", _evidence, Evidence(Level.GEO_API, "", "")),
        families=part("families", _families, {}),
        regions=part("regions", lambda one: tuple(region(part) for part in one.entries(300)), ()),
        client=part("client", _client, Client("plain")),
        variables=part("variables", _variables, ()),
        secrets=part("secrets", _secrets, ()),
        lists=part("lists", _lists, {}),
        steps=part("steps", steps, ()),
        verdicts=part("verdicts", lambda one: tuple(map(_entry, one.entries(40, 1))), ()),
        document=document if isinstance(document, dict) else {},
        places=places,
    )
    check_references(rule, node)
    if node.problems:
        raise RuleError(node.problems)
    return rule


def slug(node: Node) -> str:
    """Read a platform's slug."""
    text = node.text(60)
    if text and not SLUG.match(text):
        node.wrong(f"{text!r} is no slug: small letters and digits, - between")
    return text


def version(node: Node) -> str:
    """Read a rule's version."""
    text = node.text(40)
    if text and not VERSION.match(text):
        node.wrong("must be letters, digits, dots and -, such as 2026-11-21 or 2026-11-21.2")
    return text


def day(node: Node) -> str:
    """Read a day, YYYY-MM-DD."""
    text = node.text(40)
    try:
        if text and date.fromisoformat(text).isoformat() != text:
            node.wrong("must be a day: YYYY-MM-DD")
    except ValueError:
        node.wrong(f"{text!r} is no day; write YYYY-MM-DD")
    return text


def region(node: Node) -> str:
    """Read a country: two capital letters. Whether it exists is lint's question."""
    text = node.text(40)
    if text and not re.fullmatch("[A-Z]{2}", text):
        node.wrong(f"{text!r} is no country: two capital letters (ISO 3166-1 alpha-2)")
    return text


def _origin(node: Node) -> Source:
    parts = node.table(["source", "date"], ["note"])
    return Source(
        parts["source"].text(400) if "source" in parts else "",
        parts["date"].text(40) if "date" in parts else "",
        parts["note"].text(empty=True) if "note" in parts else "",
    )


def _evidence(node: Node) -> Evidence:
    parts = node.table(["level", "shows", "cannot_show"])
    return Evidence(
        Level(parts["level"].choice(tuple(Level))) if "level" in parts else Level.GEO_API,
        parts["shows"].text() if "shows" in parts else "",
        parts["cannot_show"].text() if "cannot_show" in parts else "",
    )


def _families(node: Node) -> Mapping[int, str]:
    return {int(key[1]): part.choice(EXPECTED) for key, part in node.table(["v4", "v6"]).items()}


def _client(node: Node) -> Client:
    parts = node.table(["profile"], ["headers", "max_body", "timeout"])
    return Client(
        profile=parts["profile"].choice(PROFILES) if "profile" in parts else "plain",
        headers=headers(parts["headers"]) if "headers" in parts else (),
        max_body=parts["max_body"].whole(1000, MAX_BODY_BYTES) if "max_body" in parts else MAX_BODY_BYTES,
        timeout_s=float(parts["timeout"].whole(1, MAX_TIMEOUT_S)) if "timeout" in parts else 10.0,
    )


def _variables(node: Node) -> tuple[Generated, ...]:
    read = []
    for key, part in node.named(30).items():
        own = name(Node(key, part.place, part.places, part.problems))
        if not isinstance(part.value, dict):
            read.append(Generated(own, "text", part.text(empty=True)))
            continue
        if len(part.value) != 1:
            part.wrong("must be text, or one of: {uuid: true}, {hex: N}, {now: true}, {md5: TEXT}")
            continue
        for kind, setting in part.table([], ["uuid", "hex", "now", "md5"]).items():
            if kind == "hex":
                read.append(Generated(own, kind, length=setting.whole(1, 128)))
            elif kind == "md5":
                read.append(Generated(own, kind, setting.text()))
            elif setting.value is True:
                read.append(Generated(own, kind))
            else:
                setting.wrong("must be true")
    return tuple(read)


def _secrets(node: Node) -> tuple[Secret, ...]:
    read = []
    for key, part in node.named(10).items():
        fields = part.table([], ["optional", "default", "note"])
        read.append(
            Secret(
                name(Node(key, part.place, part.places, part.problems)),
                fields["optional"].flag() if "optional" in fields else False,
                fields["default"].text() if "default" in fields else "",
                fields["note"].text(empty=True) if "note" in fields else "",
            )
        )
    return tuple(read)


def _lists(node: Node) -> Mapping[str, tuple[str, ...]]:
    return {
        name(Node(key, part.place, part.places, part.problems)): tuple(
            one.text(200) for one in part.entries(300, 1)
        )
        for key, part in node.named(20).items()
    }


def _entry(node: Node) -> Entry:
    parts = node.table(["when", "verdict"], ["scope", "region", "detail"])
    verdict = Verdict(parts["verdict"].choice(tuple(Verdict))) if "verdict" in parts else Verdict.INCONCLUSIVE
    if verdict in SETTLED:
        parts["verdict"].wrong(f"{verdict} is the engine's to give")
    named, const = "", ""
    if "region" in parts:
        if isinstance(parts["region"].value, dict):
            fixed = parts["region"].table(["const"])
            const = region(fixed["const"]) if "const" in fixed else ""
        else:
            named = name(parts["region"])
    scope = parts["scope"].text(40) if "scope" in parts else ""
    if scope and not re.fullmatch("[a-z0-9_]+", scope):
        parts["scope"].wrong("must be small letters, digits and _")
    return Entry(
        when=conditions(parts["when"]) if "when" in parts else (),
        verdict=verdict,
        scope=scope,
        region=named,
        region_const=const,
        detail=parts["detail"].text(120) if "detail" in parts else "",
    )
