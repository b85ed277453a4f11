"""The demo's unlock checks: who asks what, and each answer beside the lab's truth. **Pure.**"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from sonde_lab.demo.files import toml
from sonde_lab.demo.watch import Unlock
from sonde_lab.world import packed

PACK = "unlock.pack"
FAMILY = 4
PLAN = """
[plan.unlock]
platforms = "enabled"
families = [4]
canary = "direct"
fast = true  # the lab's platforms, no real ones
"""
"""What the plan of a check `unlock` says of it."""
_WORDS = {
    "available": "yes",
    "partial": "part",
    "not_in_region": "no",
    "proxy_detected": "proxy",
    "rate_limited": "429",
    "unsupported_family": "no v6",
    "network_error": "no net",
}
_SAID = ("verdict", "scope", "region", "via")

Answers = Mapping[str, Mapping[str, str]]
"""Slug → what is true of it at one place."""


def agent(folder: Path, key: str, lab: Path, origin: Mapping[str, Any]) -> str:
    """Give what agent.toml says of the pack of rules in the demo's `folder`, and of the lab's authorities.

    Args:
        folder: of the demo.
        key: that the pack is signed by.
        lab: the lab's folder.
        origin: of the lab's truth: what asks it needs to know.
    """
    world = origin["world"]
    return f"""\
[policy]
# Who may write rules for this agent: a key that the demo made, and forgot.
rule_keys = ["{key}"]
# Where a task may name a file: the authority of the lab's own web servers.
files = [{toml((lab / origin["ca"]).parent)}]

[unlock]
pack = {toml(folder / PACK)}
ca_file = {toml(lab / world["ca"])}
trusted_resolver = "{world["trusted_resolver"]}"
trusted_resolver_name = "{world["trusted_resolver_name"]}"
"""


class Matrix:
    """What was measured of each server and vantage beside what is true.

    Args:
        lines: the newest of each vantage, target and platform.
        true: target as the inventory calls it, or code of a vantage → what is true there.
        vantages: codes.
    """

    def __init__(self, lines: Sequence[Unlock], true: Mapping[str, Answers], vantages: Sequence[str]) -> None:
        self._true, self._platforms = true, packed.enabled_slugs()
        self._owed = [(v, target) for target in true for v in ([target] if target in vantages else vantages)]
        self._seen = {(line.vantage, line.target or line.vantage, line.platform): line for line in lines}

    def wrong(self) -> Iterator[str]:
        """Give, in words, every answer that is not the truth."""
        for (vantage, target, slug), line in sorted(self._seen.items()):
            true = self._true.get(target, {}).get(slug)
            if true is None or _said(line) != _said(true):
                yield f"{slug} at {target} from {vantage}: measured {_words(line)}, true {_words(true)}"

    def absent(self, excused: str = "") -> Iterator[str]:
        """Give, in words, where an answer is owed and none came; `excused` is a target that owes none."""
        lacking: dict[tuple[str, str], list[str]] = defaultdict(list)
        for vantage, target in self._owed:
            for slug in self._platforms:
                if (vantage, target, slug) not in self._seen:
                    lacking[vantage, target].append(slug)
        lacking = {way: slugs for way, slugs in lacking.items() if way[1] != excused}
        for (vantage, target), slugs in lacking.items():
            yield f"no unlock result of {vantage} at {target} arrived: {', '.join(slugs)}"

    def table(self) -> Table:
        """Give it for human eyes: a line for each server, a column for each platform."""
        right = sum(
            _said(line) == _said(self._true.get(target, {}).get(slug))
            for (_, target, slug), line in self._seen.items()
        )
        owed = len(self._owed) * len(self._platforms)
        table = Table(
            title=f"streaming unlock, {right} of {owed} = truth: streaming_checks, sonde.canary_checks",
            caption="* by the exit's resolver alone: a DNS proxy · ≠ not the truth",
            title_justify="left",
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        table.add_column("server", no_wrap=True)
        for slug in self._platforms:
            table.add_column(slug.replace("-", "\n"), no_wrap=True)
        for target, true in self._true.items():
            cells = [self._cell(target, slug, true.get(slug)) for slug in self._platforms]
            table.add_row(f"{target} (direct)" if (target, target) in self._owed else target, *cells)
        return table

    def _cell(self, target: str, slug: str, true: Mapping[str, str] | None) -> Text:
        lines = [line for (_, where, what), line in self._seen.items() if (where, what) == (target, slug)]
        if not lines:
            return Text("-", style="dim")
        wrong = [line for line in lines if _said(line) != _said(true)]
        if wrong:
            return Text(f"{_short(_said(wrong[0]))} ≠", style="bold red")
        return Text(
            _short(_said(true)), style="green" if lines[0].verdict in {"available", "partial"} else ""
        )


def _said(one: Unlock | Mapping[str, str] | None) -> tuple[str, ...]:
    if one is None:
        return ("", "", "", "")
    if isinstance(one, Unlock):
        return (one.verdict, one.scope or "", one.region or "", one.via or "unknown")
    return tuple(one[part] for part in _SAID)


def _short(said: tuple[str, ...]) -> str:
    verdict, _, region, via = said
    word = _WORDS.get(verdict, verdict or "?")
    return f"{word} {region}".rstrip() + ("*" if via == "dns_proxy" else "")


def _words(one: Unlock | Mapping[str, str] | None) -> str:
    return " ".join(part for part in _said(one) if part) or "unknown"


def true_of(truth: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Answers]:
    """Give what is true, by the names that the inventory has.

    Args:
        truth: the lab's.
        names: key in the lab → key in the inventory; vantages have the same.
    """
    return {names.get(key, key): families[str(FAMILY)] for key, families in truth["unlock"].items()}
