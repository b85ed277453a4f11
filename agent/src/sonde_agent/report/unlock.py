"""The report of unlock checks: a verdict each, why, and what it can and can't show. **Pure.**"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sonde_agent.report.words import BOLD, DIM, GREEN, RED, Paint, failure_words, has, ms, notes
from sonde_proto.v1 import results_pb2 as pb

YELLOW = "\x1b[33m"
VERDICTS = {
    pb.VERDICT_AVAILABLE: "available",
    pb.VERDICT_PARTIAL: "partly available",
    pb.VERDICT_NOT_IN_REGION: "not offered in this region",
    pb.VERDICT_PROXY_DETECTED: "refused as a VPN or proxy",
    pb.VERDICT_BLOCKED: "refused",
    pb.VERDICT_RATE_LIMITED: "asked too often",
    pb.VERDICT_UNSUPPORTED_FAMILY: "the platform has no address of this family",
    pb.VERDICT_NETWORK_ERROR: "no answer: says nothing of the platform",
    pb.VERDICT_INCONCLUSIVE: "an answer that the rule does not know",
    pb.VERDICT_NOT_CONFIGURED: "the rule needs a secret that this host lacks",
}
_LEVELS = {
    pb.EVIDENCE_LEVEL_GEO_API: "where the platform thinks we are",
    pb.EVIDENCE_LEVEL_TITLE_PAGE: "the page of a title",
    pb.EVIDENCE_LEVEL_ANONYMOUS_SESSION: "a session without an account",
    pb.EVIDENCE_LEVEL_PLAYBACK: "the media selector, or playback",
}
_VIAS = {
    pb.VIA_NATIVE: "native: the trusted resolver's answers give the same",
    pb.VIA_DNS_PROXY: "DNS proxy: only the exit's own resolver gives this",
}
_ACCESS = (pb.VERDICT_AVAILABLE, pb.VERDICT_PARTIAL)
_REFUSED = (pb.VERDICT_NOT_IN_REGION, pb.VERDICT_PROXY_DETECTED, pb.VERDICT_BLOCKED)
_NO_WORD = (pb.VERDICT_NETWORK_ERROR, pb.VERDICT_INCONCLUSIVE, pb.VERDICT_NOT_CONFIGURED)

Limits = Mapping[str, tuple[str, str]]
"""Slug -> what the rule's evidence shows, and what it can't."""


def said_something(row: pb.Unlock) -> bool:
    """Whether the rule gave a verdict on the exit."""
    return not row.failure and has(row, "verdict") and row.verdict not in _NO_WORD


def render(rows: Sequence[pb.Unlock], limits: Limits, paint: Paint) -> str:
    """Give the report of several rules."""
    return "\n\n".join(_one(row, limits, paint) for row in rows)


def _one(row: pb.Unlock, limits: Limits, paint: Paint) -> str:
    version = f"@{row.rule_version}" if row.rule_version else ""
    lines = [f"{paint('unlock', DIM)}  {paint(row.platform, BOLD)}{paint(version, DIM)} (IPv{row.family})"]
    if row.failure:
        words = failure_words(row.failure, pb.STAGE_NONE, row.detail)
        return "\n".join([*lines, "  " + paint(f"✗ not asked: {words}", RED)])
    lines.append("  " + _verdict(row, paint))
    lines += [f"  {label:<11}{text}" for label, text in _facts(row, limits)]
    if said := notes(row.quality):
        lines.append(f"  {'note':<11}{paint('; '.join(said), DIM)}")
    return "\n".join(lines)


def _verdict(row: pb.Unlock, paint: Paint) -> str:
    mark, code = (
        ("✓", GREEN) if row.verdict in _ACCESS else ("✗", RED) if row.verdict in _REFUSED else ("?", YELLOW)
    )
    word = pb.Verdict.Name(row.verdict).removeprefix("VERDICT_").lower()
    more = [part for part in (row.scope, row.region) if part]
    head = " · ".join([word, *more])
    return f"{paint(f'{mark} {head}', code)}  {VERDICTS.get(row.verdict, '')}"


def _facts(row: pb.Unlock, limits: Limits) -> list[tuple[str, str]]:
    evidence = _evidence(row)
    facts = []
    if row.detail:
        facts.append(("why", row.detail))
    if (decided := _decided(evidence)) and evidence["decided"]["step"] not in row.detail:
        facts.append(("decided by", decided))
    if row.via or row.verdict in _ACCESS:
        facts.append(
            ("via", _VIAS.get(row.via, "unknown: the trusted resolver was not asked, or gave no word"))
        )
    shows, cannot = limits.get(row.platform, ("", ""))
    level = _LEVELS.get(row.level, "unknown")
    facts.append(("evidence", f"{level}; {shows}" if shows else level))
    if cannot:
        facts.append(("can't show", cannot))
    tls = evidence.get("tls", "")
    plain = "plain TLS of this program's own" if row.fidelity == pb.FIDELITY_PLAIN_TLS else f"TLS as {tls}"
    facts.append(("asked", f"{row.exchanges} requests in {ms(row.response_ms)} ms, {plain}"))
    return facts


def _decided(evidence: Mapping[str, Any]) -> str:
    decided = evidence.get("decided", {})
    where = ", ".join(filter(None, (decided.get("step"), decided.get("host"))))
    status = f" {decided['status']}" if decided.get("status") else ""
    marker = decided.get("marker", "")
    return f"{where}{status}: {marker}" if where and marker else f"{where}{status}{marker}"


def _evidence(row: pb.Unlock) -> dict[str, Any]:
    try:
        told = json.loads(row.evidence or "{}")
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
