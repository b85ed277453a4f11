"""[[maintenance]]: planned work, in which failures are expected."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import attrs

from sonde_collector.inventory.model.rules import Key, at_most
from sonde_proto.toml_config import not_empty

_WEEK = dt.timedelta(days=7)


def moment(text: str) -> str:
    """Be a rule: a time with its zone, kept in UTC. **Pure**."""
    wrong = f'must be a time with its zone, such as "2026-12-01T02:00:00Z", not "{text}"'
    try:
        at = dt.datetime.fromisoformat(text)
        utc = at.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        raise ValueError(wrong) from None
    if at.tzinfo is None:
        raise ValueError(wrong)
    return utc.isoformat().replace("+00:00", "Z")


def simple_glob(text: str) -> str:
    """Be a rule: a key with * and ? in it, as the database matches them. **Pure**."""
    if not text or any(c in text for c in "[]") or not text.isprintable():
        raise ValueError(f'must be a key, or one with * and ?, not "{text}"')
    return text


Globs = Annotated[tuple[Annotated[str, simple_glob], ...], not_empty]


@attrs.frozen
class Maintenance:
    """A window in which what is measured does not count for uptime, and events are silenced.

    Attributes:
        servers, targets: keys and globs (* and ?); both None = all.
        vantages: as measured from these only; None = from anywhere.
        start, until: the first time, with zone.
        weekly: every 168 hours again (UTC: it does not move with summer time).
    """

    key: Key
    start: Annotated[str, moment]
    until: Annotated[str, moment]
    servers: Globs | None = None
    targets: Globs | None = None
    vantages: Globs | None = None
    weekly: bool = False
    reason: Annotated[str, at_most(500)] = "maintenance"

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        chosen = ("servers", "targets", "vantages")
        if fields.keys() >= set(chosen) and not any(fields[name] for name in chosen):
            yield "servers", 'is required, or targets or vantages; servers = ["*"] means all'
        if fields.keys() >= {"start", "until"}:
            start, until = (dt.datetime.fromisoformat(fields[name]) for name in ("start", "until"))
            if until <= start:
                yield "until", "must be after start"
            elif fields.get("weekly") and until - start > _WEEK:
                yield "until", "must be at most 7 days after start where it is weekly"
