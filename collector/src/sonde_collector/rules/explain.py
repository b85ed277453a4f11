"""A rule told to a person: what is asked, what each verdict needs, what it can and can't show. **Pure**."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from sonde_collector.rules import words
from sonde_unlock.model import Rule
from sonde_unlock.verdict import Level

_WIDTH = 100
_LEVELS = {
    Level.GEO_API: "the platform's own answer to where we are",
    Level.TITLE_PAGE: "public pages of titles, as a visitor without an account sees them",
    Level.ANONYMOUS_SESSION: "a session of the platform's client, without an account",
    Level.PLAYBACK: "what the platform answers to a player that asks for a stream",
}
_FAMILIES = {4: "IPv4", 6: "IPv6"}
_GUARDS = (
    "Whatever the list says, the engine itself says: network_error when every step failed, "
    "unsupported_family when no name has an IPv6 address, rate_limited on a 429, blocked on a challenge "
    "page, not_configured when a secret that is needed is missing. When nothing holds: inconclusive."
)


def hosts(rule: Rule) -> list[str]:
    """Give the hosts that a rule asks by name, in order; one that is built from answers holds {NAME}."""
    return list(dict.fromkeys(urlsplit(step.request.url).netloc or step.request.url for step in rule.steps))


def lines(rule: Rule, cassettes: Sequence[str]) -> list[str]:
    """Give the explanation line by line.

    Args:
        rule: to be explained.
        cassettes: one line for each, as people name them.
    """
    state = "enabled" if rule.enabled else "shipped, not enabled"
    told = [f"{rule.name} ({rule.slug}), version {rule.version}, {state}", ""]
    told += _paragraph(f"Evidence: {rule.evidence.level.value}: {_LEVELS[rule.evidence.level]}.")
    told += _paragraph(f"It shows: {rule.evidence.shows}")
    told += _paragraph(f"It can't show: {rule.evidence.cannot_show}")
    told += [f"Confidence: {rule.confidence}."]
    told += [f"Last confirmed live: {rule.confirmed_live or 'never; its cassettes are what is known'}."]
    told += [", ".join(f"{_FAMILIES[family]} {word}" for family, word in rule.families.items()) + "."]
    if rule.regions:
        told += _paragraph(f"Offered in: {', '.join(rule.regions)}.")
    told += ["", f"It asks {', '.join(hosts(rule))}, as a {rule.client.profile} client:"]
    for number, step in enumerate(rule.steps, 1):
        first, *rest = words.request(step, rule)
        told += _item(f"{number} {step.id}: {first}") + [line for more in rest for line in _item(more, 5)]
    told += [f"     secret {each.name}: {_secret(each)}" for each in rule.secrets]
    told += ["", "The first of these that holds is the verdict:"]
    for number, entry in enumerate(rule.verdicts, 1):
        told += _item(f"{number} {words.outcome(entry)}: when {words.conditions(entry.when)}")
        told += _item(entry.detail, 5) if entry.detail else []
    told += _paragraph(_GUARDS)
    told += ["", f"Facts (last compared on {rule.checked_on}):"]
    for source in rule.provenance:
        told += _item(f"{source.date} {source.source}" + (f": {source.note}" if source.note else ""))
    told += ["", f"Cassettes: {len(cassettes) or 'none'}"]
    return told + [f"  {each}" for each in cassettes]


def _secret(secret: Any) -> str:
    if secret.default:
        return "a public constant of the platform's own client; the operator may give another"
    return (
        "from the operator, optional" if secret.optional else "from the operator; without it: not_configured"
    )


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH)


def _item(text: str, indent: int = 2) -> list[str]:
    """Give an item, its later lines further in; patterns and addresses are not broken."""
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 3),
        break_long_words=False,
        break_on_hyphens=False,
    )


def described(rule: Rule, cassettes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Give the explanation for programs."""
    return {
        "slug": rule.slug,
        "name": rule.name,
        "version": rule.version,
        "enabled": rule.enabled,
        "confidence": rule.confidence,
        "level": rule.evidence.level.value,
        "shows": rule.evidence.shows,
        "cannot_show": rule.evidence.cannot_show,
        "checked_on": rule.checked_on,
        "confirmed_live": rule.confirmed_live or None,
        "families": {f"v{family}": word for family, word in rule.families.items()},
        "regions": list(rule.regions),
        "hosts": hosts(rule),
        "steps": [
            {"id": step.id, "method": step.request.method, "url": step.request.url} for step in rule.steps
        ],
        "verdicts": [
            {
                "verdict": entry.verdict.value,
                "scope": entry.scope,
                "when": [words.condition(each) for each in entry.when],
                "detail": entry.detail,
            }
            for entry in rule.verdicts
        ],
        "provenance": [
            {"source": each.source, "date": each.date, "note": each.note} for each in rule.provenance
        ],
        "cassettes": list(cassettes),
    }
