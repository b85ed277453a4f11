"""The cassettes that the world can play, and which of them is due where."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from sonde_lab.world import mishaps
from sonde_unlock.cassette import Cassette, Expected
from sonde_unlock.reading import read_cassettes, read_document, read_rule
from sonde_unlock.verdict import Verdict

MAP = "world.yaml"
"""Beside the cassettes: which behaviour each platform has in which country."""
_MOST_BYTES = 1 << 20
_UNSUPPORTED = "unsupported"


class Shelf:
    """All of them.

    Args:
        cassettes: the platforms'; the lab's mishaps are added to each.
        v4_only: slugs of platforms whose names have no IPv6 address.
    """

    def __init__(self, cassettes: Iterable[Cassette], v4_only: Iterable[str] = ()) -> None:
        self.hosts: dict[str, frozenset[str]] = defaultdict(frozenset)
        self._by_name: dict[tuple[str, str], list[Cassette]] = defaultdict(list)
        found = tuple(cassettes)
        for cassette in found:
            self.hosts[cassette.slug] |= cassette.hosts
        for cassette in (
            *found,
            *(one for slug in self.hosts for one in mishaps.cassettes(slug, self.hosts[slug])),
        ):
            self._by_name[cassette.slug, cassette.behaviour].append(cassette)
        self.v4_only = frozenset(v4_only) & self.hosts.keys()

    @classmethod
    def read(cls, cassettes: Path, rules: Path) -> Self:
        """Read those of a folder, and from the rules which platforms have no IPv6.

        Raises:
            RuleError: a file is malformed.
        """
        files = sorted(file for file in cassettes.glob("*.yaml") if file.name != MAP)
        found = [one for file in files for one in read_cassettes(file.read_text(), file.name)]
        slugs = {cassette.slug for cassette in found}
        kept = (
            read_rule(file.read_text(), file.name)
            for file in sorted(rules.glob("*.yaml"))
            if file.stem in slugs
        )
        return cls(found, (rule.slug for rule in kept if rule.families.get(6) == _UNSUPPORTED))

    def cassette(self, slug: str, behaviour: str, family: int) -> Cassette | None:
        """Give what plays a behaviour in a family, 4 or 6; None = there is nothing."""
        there = self._by_name.get((slug, behaviour), [])
        return next((one for one in there if one.family in (0, family)), None)

    def names_without_v6(self) -> frozenset[str]:
        """Give the hosts that only platforms without IPv6 have."""
        others = {host for slug, hosts in self.hosts.items() if slug not in self.v4_only for host in hosts}
        return frozenset(host for slug in self.v4_only for host in self.hosts[slug]) - others

    def expected(self, slug: str, behaviour: str, family: int) -> Expected | None:
        """Give what a rule has to make of it."""
        if family == 6 and slug in self.v4_only:  # noqa: PLR2004
            return Expected(Verdict.UNSUPPORTED_FAMILY)
        cassette = self.cassette(slug, behaviour, family)
        return cassette.expect if cassette else None

    def behaviours(self) -> dict[str, list[str]]:
        """Give the names of each platform's behaviours, mishaps too."""
        found: dict[str, list[str]] = defaultdict(list)
        for slug, behaviour in self._by_name:
            found[slug].append(behaviour)
        return found


def read_map(file: Path) -> Mapping[str, Any]:
    """Read the map of behaviours; without a file nothing is anywhere.

    Raises:
        RuleError: it is no YAML.
    """
    if not file.exists():
        return {}
    document, _, _ = read_document(file.read_text(), file.name, _MOST_BYTES)
    return document if isinstance(document, dict) else {}
