"""Which rules this program is shipped with: their heads, as far as an inventory needs them."""

import functools
from collections.abc import Mapping
from difflib import get_close_matches

import attrs

import sonde_rules
from sonde_unlock.model import Rule
from sonde_unlock.reading import read_rule


@attrs.frozen
class Shipped:
    """The head of a rule.

    Attributes:
        slug: of its platform.
        name: for people.
        version: of the rule.
        enabled: it is on unless somebody says otherwise.
    """

    slug: str
    name: str
    version: str
    enabled: bool


@functools.cache
def shipped() -> Mapping[str, Shipped]:
    """Give the shipped rules by slug. Reads their files once."""
    found = sorted(sonde_rules.RULES.glob("*.yaml"))
    heads = (_head(read_rule(path.read_text(), path.name)) for path in found)
    return {head.slug: head for head in heads}


def _head(rule: Rule) -> Shipped:
    return Shipped(rule.slug, rule.name, rule.version, rule.enabled)


def enabled() -> tuple[str, ...]:
    """Give the slugs of the rules that are on."""
    return tuple(slug for slug, head in shipped().items() if head.enabled)


def name(slug: str) -> str:
    """Give what people call a platform; its slug where no rule of it is shipped."""
    head = shipped().get(slug)
    return head.name if head else slug


def nearest(slug: str) -> list[str]:
    """Give the shipped slugs that somebody may have meant, the likeliest first."""
    return get_close_matches(slug, list(shipped()), n=3)
