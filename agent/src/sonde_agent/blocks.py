"""What the operator of this host has blocked, why, and until when. **Pure.**"""

import datetime as dt
import re
from collections.abc import Iterable
from typing import Annotated

import attrs

from sonde_agent.addresses import Address, Network, parse_network

_LONGEST_REASON = 200
_LIKE_A_NETWORK = re.compile(r"[0-9a-fA-F.:]+/.*|[0-9.]+")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _one_line(text: str) -> str:
    if not text.strip() or len(text) > _LONGEST_REASON or not text.isprintable():
        raise ValueError(f"must say why in one line of at most {_LONGEST_REASON} characters")
    return text


def target_rule(text: str) -> str:
    """Be a rule: what may be blocked. A network with a slip would be taken for a name that nobody has."""
    if not text or (_LIKE_A_NETWORK.fullmatch(text) and parse_network(text) is None):
        raise ValueError(f'must be a target key, a name, "*.domain", an address or a network, not "{text}"')
    return text


def _with_offset(moment: dt.datetime) -> dt.datetime:
    if moment.tzinfo is None:
        raise ValueError(f"must say its offset, as in {moment.isoformat()}Z")
    return moment


@attrs.frozen
class Block:
    """One entry of `[[policy.block]]`."""

    target: Annotated[str, target_rule]
    """Target key, host name, "*.domain" for all below it, address, network, or slug of an unlock rule."""
    reason: Annotated[str, _one_line]
    """Told to the collector with each refusal."""
    until: Annotated[dt.datetime, _with_offset] | None = None
    """When it ends by itself; None = never."""

    @property
    def until_us(self) -> int | None:
        """When it ends [UTC µs since 1970]."""
        return None if self.until is None else (self.until - _EPOCH) // dt.timedelta(microseconds=1)

    def holds(self, now_us: int) -> bool:
        """Whether it is in force."""
        return self.until_us is None or now_us < self.until_us

    def __str__(self) -> str:
        """The block as a refusal tells it."""
        if self.until is None:
            return f'policy.block holds "{self.target}": {self.reason}'
        until = self.until.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f'policy.block holds "{self.target}" until {until}: {self.reason}'


class Blocked:
    """Targets, names and networks that are blocked, ready to be asked.

    Args:
        targets: those of `policy.deny_targets`, which say no reason and never end.
        blocks: those of `policy.block` that are in force.
    """

    def __init__(self, targets: Iterable[str], blocks: Iterable[Block]) -> None:
        self._names: dict[str, str] = {}
        self._suffixes: list[tuple[str, str]] = []
        self._networks: list[tuple[Network, str]] = []
        for target in targets:
            self._add(target, f'policy.deny_targets holds "{target}"')
        for block in blocks:
            self._add(block.target, str(block))

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks among them."""
        return tuple(network for network, _ in self._networks)

    def _add(self, target: str, words: str) -> None:
        name = _plain(target)
        network = parse_network(name)
        if network is not None:
            self._networks.append((network, words))
        elif name.startswith("*."):
            self._suffixes.append((name[1:], words))
        else:
            self._names.setdefault(name, words)

    def name(self, name: str) -> str | None:
        """Why a target key, host name or slug is blocked, in words; None = it is not."""
        if not (self._names or self._suffixes):
            return None
        name = _plain(name)
        if name in self._names:
            return self._names[name]
        return next((words for suffix, words in self._suffixes if name.endswith(suffix)), None)

    def address(self, address: Address) -> str | None:
        """Why an address is blocked, in words; None = it is not."""
        return next((words for network, words in self._networks if address in network), None)


def _plain(name: str) -> str:
    """Give a name as it would be asked for: in ASCII and lower case, without the root's dot."""
    name = name.rstrip(".").lower()
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return name  # no host name: a target's key
