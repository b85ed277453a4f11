"""Unlock checks in the database, and what is to be read of them, reckoned anew without SQL."""

import datetime as dt
from collections.abc import Iterable, Sequence
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
