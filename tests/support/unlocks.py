"""Unlock checks in the database, and what is to be read of them, reckoned anew without SQL."""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import psycopg
from attrs import evolve, frozen

PLATFORMS = ("netflix", "bbc-iplayer", "hulu")
CONCLUSIVE = frozenset({"available", "partial", "not_in_region", "proxy_detected", "blocked"})
NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)


@frozen
class Check:
    """One row of streaming_checks, or of sonde.canary_checks where server is None."""

    server: int | None = 1
    platform: int = 1
    probe: int | None = 1
    ago_s: float = 0.0
    verdict: str | None = "available"
    version: str | None = "1"
    family: int | None = 4
    protocol: int | None = 1
    failure: str | None = None
    quality: int = 0
    seq: int = 0

    @property
    def at(self) -> dt.datetime:
        """When it was made."""
        return NOW - dt.timedelta(seconds=self.ago_s)

    @property
    def counts(self) -> bool:
        """Whether it counts, were no version voided."""
        return self.failure is None and not self.quality & 4

    @property
    def conclusive(self) -> bool:
        """Whether it says something of the exit."""
        return self.verdict in CONCLUSIVE


def platforms(conn: psycopg.Connection, slugs: Sequence[str] = PLATFORMS) -> None:
    """Makes platforms with ids from 1."""
    for number, slug in enumerate(slugs, 1):
        conn.execute(
            "INSERT INTO streaming_platforms (id, slug, name) VALUES (%s, %s, %s)", (number, slug, slug)
        )


def insert(conn: psycopg.Connection, checks: Iterable[Check]) -> list[Check]:
    """Inserts checks, numbered in their order; gives them with their numbers."""
    numbered = [evolve(check, seq=number) for number, check in enumerate(checks, 1)]
    with conn.cursor() as cursor:
        for check in numbered:
            cursor.execute(*_statement(check))
    return numbered


def _statement(check: Check) -> tuple[str, dict[str, Any]]:
    values = {
        "server": check.server, "platform": check.platform, "probe": check.probe, "at": check.at,
        "verdict": check.verdict, "version": check.version, "family": check.family,
        "protocol": check.protocol, "failure": check.failure, "quality": check.quality, "seq": check.seq,
    }  # fmt: skip
    table = "streaming_checks" if check.server else "sonde.canary_checks"
    names, marks = ("server_id, ", "%(server)s, ") if check.server else ("", "")
    statement = (
        f"INSERT INTO {table} ({names}platform_id, probe_id, checked_at, verdict, rule_version, family,"
        f" protocol_id, failure, quality, stream_id, seq) VALUES ({marks}"
        "%(platform)s, %(probe)s, %(at)s, %(verdict)s, %(version)s, %(family)s, %(protocol)s, %(failure)s,"
        " %(quality)s, 1, %(seq)s)"
    )
    return statement, values


def newest(checks: Iterable[Check]) -> Check | None:
    """The newest of them; of the same moment the one that came last."""
    return max(checks, key=lambda check: (check.at, check.seq), default=None)


Known = Mapping[int, Sequence[int]]
"""Servers known good, and the platforms for which they are."""


def rule_states(
    checks: Iterable[Check], known: Known, voided: Collection[tuple[int, str]]
) -> dict[tuple[int, str], str]:
    """Give what canaries say of each (platform, version)."""
    said = [
        check
        for check in checks
        if check.counts
        and check.version is not None
        and (check.platform, check.version) not in voided
        and (check.conclusive or check.verdict == "inconclusive")
        and (check.server is None or check.platform in known.get(check.server, ()))
    ]
    sources = defaultdict(list)
    for check in said:
        sources[check.platform, check.probe, check.server].append(check)
    used = defaultdict(list)
    for of_source in sources.values():
        last = newest(of_source)
        assert last is not None
        for check in of_source:
            if check.version == last.version:
                used[check.platform, str(check.version)].append(check)
    return {rule: _state(of_rule) for rule, of_rule in used.items()}


def _state(of_rule: Sequence[Check]) -> str:
    good = max((check.at for check in of_rule if check.conclusive), default=None)
    series: Counter[tuple[object, ...]] = Counter(
        (check.probe, check.server, check.family) for check in of_rule if good is None or check.at > good
    )
    times = {probe: max(n for (other, *_), n in series.items() if other == probe) for probe, *_ in series}
    doubting = sum(n > 1 for n in times.values())
    if doubting > 1 or (times and doubting == len(times)):
        return "stale"
    return "unknown" if good is None else "fine"


def matrix(
    checks: Iterable[Check],
    since: dt.datetime,
    states: Mapping[tuple[int, str], str],
    voided: Collection[tuple[int, str]],
) -> dict[tuple[object, ...], tuple[object, ...]]:
    """Give (server, platform, family, protocol) -> (seq, verdict, cause) of the newest check that counts."""
    cells = defaultdict(list)
    for check in checks:
        if _read(check, voided) and check.at >= since:
            cells[check.server, check.platform, check.family, check.protocol].append(check)
    found: dict[tuple[object, ...], tuple[object, ...]] = {}
    for cell, of_cell in cells.items():
        last = newest(of_cell)
        assert last is not None
        state = states.get((last.platform, str(last.version)))
        cause = None
        if state == "fine" and last.verdict in {"inconclusive", "blocked"}:
            cause = "exit"
        elif state == "stale" and last.verdict == "inconclusive":
            cause = "rule"
        found[cell] = (last.seq, last.verdict, cause)
    return found


def unlocked(
    checks: Iterable[Check], server: int, since: dt.datetime, voided: Collection[tuple[int, str]]
) -> set[int]:
    """Give the platforms that a server unlocks, by the newest conclusive check of each family of a day."""
    mine = [
        check
        for check in checks
        if check.server == server and check.at >= since and _read(check, voided) and check.conclusive
    ]
    out = set()
    for platform in {check.platform for check in mine}:
        of_platform = [check for check in mine if check.platform == platform]
        last = max(check.at for check in of_platform)
        recent = [check for check in of_platform if check.at > last - dt.timedelta(days=1)]
        families = {check.family for check in recent}
        ends = [newest(check for check in recent if check.family == family) for family in families]
        if all(end is not None and end.verdict == "available" for end in ends):
            out.add(platform)
    return out


def _read(check: Check, voided: Collection[tuple[int, str]]) -> bool:
    return check.server is not None and check.counts and (check.platform, str(check.version)) not in voided
