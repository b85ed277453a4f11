"""From what was found out about one rule to its one row. **Pure.**"""

import ipaddress
import json
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from sonde_agent.checks.unlock.unasked import LONGEST_DETAIL, Wanted, unasked_row
from sonde_agent.net.web import connected
from sonde_proto.v1 import results_pb2 as pb
from sonde_unlock.exchange import Error, Exchange
from sonde_unlock.model import Rule
from sonde_unlock.verdict import Judgement, Verdict

LONGEST_EVIDENCE = 4096
PLAIN = "plain"
_LONGEST_MARKER = 300
_MOST_TOLD = 30
_OURS = (Verdict.NETWORK_ERROR, Verdict.INCONCLUSIVE)
_PREFIX = {4: 24, 6: 48}


@frozen
class Found:
    """What asking one rule over one family gave.

    Attributes:
        rule: that was asked.
        family: 4 or 6.
        judgement: with the tunnel's resolver.
        via: how the exit comes to unlock.
        pinned: the verdict with the trusted resolver's answers; None = it was not asked.
        resolver: who was asked for names.
        greeting: whose TLS greeting was shown; "plain" = this program's own.
        exit_address: under which the world sees us; "" = unknown.
    """

    rule: Rule
    family: int
    judgement: Judgement
    via: pb.Via.ValueType
    pinned: Judgement | None
    resolver: str
    greeting: str
    exit_address: str


def row_of(found: Found) -> pb.Unlock:
    """Give the row: a verdict, or where our own policy kept the rule from being asked, a failure."""
    judgement, rule = found.judgement, found.rule
    refused = next((one for one in judgement.trace if one.error is Error.POLICY), None)
    if refused is not None and judgement.verdict in _OURS:
        return unasked_row(Wanted(rule.slug, rule.version, found.family), pb.FAILURE_POLICY, refused.detail)
    row = pb.Unlock(
        platform=rule.slug,
        rule_version=rule.version,
        verdict=pb.Verdict.Value(f"VERDICT_{judgement.verdict.name}"),
        family=found.family,
        level=pb.EvidenceLevel.Value(f"EVIDENCE_LEVEL_{rule.evidence.level.name}"),
        via=found.via,
        fidelity=pb.FIDELITY_PLAIN_TLS if found.greeting == PLAIN else pb.FIDELITY_BROWSER_TLS,
        response_ms=sum(exchange.elapsed_ms for exchange in judgement.trace),
        exchanges=sum(map(connected, judgement.trace)),
        detail=judgement.detail[:LONGEST_DETAIL],
        evidence=_evidence(found),
    )
    if judgement.scope:
        row.scope = judgement.scope
    if judgement.region:
        row.region = judgement.region
    return row


def truncated(address: str) -> str:
    """Give the network of a public address, /24 or /48: no row tells a customer's own; others as they are."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if not parsed.is_global:
        return str(parsed)
    return str(ipaddress.ip_network((parsed, _PREFIX[parsed.version]), strict=False))


def _evidence(found: Found) -> str:
    judgement, decided = found.judgement, found.judgement.decided
    told: dict[str, Any] = {
        "decided": {
            "by": decided.by,
            "step": decided.step,
            "marker": decided.marker[:_LONGEST_MARKER],
            "host": decided.host,
            "status": decided.status,
        },
        "family": found.family,
        "resolver": found.resolver,
        "tls": found.greeting,
        "rule": {"checked_on": found.rule.checked_on, "confirmed_live": found.rule.confirmed_live},
    }
    if (deciding := _deciding(found)) is not None:
        told["phases"] = dict(deciding.phases)
        told["http"] = deciding.http_version
    if found.exit_address:
        told["exit"] = truncated(found.exit_address)
    if found.pinned is not None:
        told["pinned"] = {"verdict": str(found.pinned.verdict), "region": found.pinned.region}
    if judgement.retry_after_s:
        told["retry_after_s"] = judgement.retry_after_s
    told["asked"] = [_one(exchange) for exchange in judgement.trace[:_MOST_TOLD]]
    text = _json(told)
    while len(text.encode()) > LONGEST_EVIDENCE and told["asked"]:
        told["asked"].pop()
        text = _json(told)
    return text if len(text.encode()) <= LONGEST_EVIDENCE else "{}"


def _json(told: dict[str, Any]) -> str:
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False)


def _one(exchange: Exchange) -> dict[str, Any]:
    host = urlsplit(exchange.request.url).hostname or ""
    what = {"error": str(exchange.error)} if exchange.error else {"status": exchange.status}
    return {"step": exchange.request.step, "host": host, **what}


def _deciding(found: Found) -> Exchange | None:
    """Give the last answer of the step that decided, or of all where none did."""
    trace, step = found.judgement.trace, found.judgement.decided.step
    of_step: Iterable[Exchange] = (one for one in reversed(trace) if step in ("", one.request.step))
    return next(iter(of_step), None)
