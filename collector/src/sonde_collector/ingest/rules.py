"""What each field of a result may hold, and the names of the reasons for rejecting one. **Pure**, a table."""

from collections.abc import Mapping
from enum import IntEnum

import numpy as np
from attrs import frozen

from sonde_proto.v1 import results_pb2

FUTURE_US = 10 * 60 * 1_000_000
"""How far ahead of its arrival a result may say it was measured: clocks differ, but not by more."""

MAX_TARGET = 512
"""Longest stable key. [characters]"""

# Points in time that PostgreSQL and Python both can tell: the years 1 to 9999.
YEAR_1_US = -62_135_596_800_000_000
YEAR_10000_US = 253_402_300_800_000_000

_MAX_INT64 = 2**63 - 1
_MAX_INT32 = 2**31 - 1
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


class Reason(IntEnum):
    """Why a row was rejected; `sonde.rejected_results.reason` holds the name in lower case."""

    ACCEPTED = 0
    NOT_FINITE = 1
    OUT_OF_RANGE = 2
    FROM_THE_FUTURE = 3
    TOO_OLD = 4
    UNKNOWN_TARGET = 5
    UNKNOWN_PROTOCOL = 6
    UNKNOWN_ENUM = 7
    MISSING_VALUE = 8
    TEXT_TOO_LONG = 9
    TEXT_HAS_NUL = 10
    TEXT_NOT_IN_DICTIONARY = 11
    REFUSED_BY_DATABASE = 12
    UNKNOWN_PLATFORM = 13
    NOT_A_JSON_OBJECT = 14


@frozen
class Rule:
    """What a field may hold.

    Attributes:
        low: smallest number. high: largest.
        only: the only numbers allowed, where set.
        step: the number is rounded to this before it is compared with `high`, as the table will round it.
        longest: of a text. [characters]
        required: NULL is refused.
        json: a text that is a JSON object, as jsonb takes it; `longest` then counts bytes.
    """

    low: float = 0
    high: float = _MAX_INT32
    only: tuple[int, ...] = ()
    step: float = 0
    longest: int = 255
    required: bool = False
    json: bool = False


_MS = Rule(high=_MAX_FLOAT32)
_SIGNED_MS = Rule(low=-_MAX_FLOAT32, high=_MAX_FLOAT32)
_PERCENT = Rule(high=100, step=0.01)
_MBPS = Rule(high=99_999.99, step=0.01)  # NUMERIC(7,2)
_COUNT = Rule()
_BIG = Rule(high=_MAX_INT64)
_FLAG = Rule(high=1)
_FAMILY = Rule(only=(4, 6))
_INSTANT = Rule(low=YEAR_1_US, high=YEAR_10000_US - 1)
_FAILURE = Rule(only=tuple(results_pb2.Failure.values()))
_STAGE = Rule(only=tuple(results_pb2.Stage.values()))

RULES: Mapping[str, Mapping[str, Rule]] = {
    "performance": {
        "ping_ms": _MS, "jitter_ms": _MS, "packet_loss_pct": _PERCENT,
        "download_mbps": _MBPS, "upload_mbps": _MBPS,
        "connection_success": _FLAG, "connection_time_ms": _MS,
        "protocol": Rule(longest=30), "family": _FAMILY,
        "sent": _COUNT, "received": _COUNT, "duplicates": _COUNT, "late": _COUNT, "send_errors": _COUNT,
        "rtt_min_ms": _MS, "rtt_mean_ms": _MS, "rtt_p95_ms": _MS, "rtt_max_ms": _MS, "rtt_stddev_ms": _MS,
        "ipdv_mean_abs_ms": _MS, "ipdv_pairs": _COUNT, "pdv_p95_ms": _MS, "ttl": Rule(high=255),
        "direct_ping_ms": _MS, "direct_jitter_ms": _MS, "direct_packet_loss_pct": _PERCENT,
        "direct_download_mbps": _MS, "direct_upload_mbps": _MS,
        "failure": _FAILURE, "stage": _STAGE, "quality": _COUNT, "detail": Rule(longest=1024),
        "resolve_ms": _MS, "transport_ms": _MS, "handshake_ms": _MS, "auth_ms": _MS, "configured_ms": _MS,
        "first_byte_ms": _MS, "exit_address": Rule(longest=64), "backend": Rule(longest=32),
        "credential": Rule(longest=100), "engine": Rule(only=tuple(results_pb2.Engine.values()[1:])),
        "streams": _COUNT, "download_p50_mbps": _MS, "download_p90_mbps": _MS, "upload_p50_mbps": _MS,
        "upload_p90_mbps": _MS, "loaded_ping_ms": _MS, "tcp_min_rtt_ms": _MS, "retransmits": _COUNT,
        "down_bytes": _BIG, "up_bytes": _BIG,
    },
    "endpoint": {
        "kind": Rule(only=tuple(results_pb2.EndpointKind.values()[1:]), required=True),
        "ok": Rule(high=1, required=True), "address": Rule(longest=64), "family": _FAMILY,
        "resolve_ms": _MS, "connect_ms": _MS, "tls_ms": _MS, "first_byte_ms": _MS, "transfer_ms": _MS,
        "total_ms": _MS, "overhead_ms": _SIGNED_MS, "status": _COUNT, "body_bytes": _BIG,
        "http_version": Rule(longest=32), "tls_version": Rule(longest=32), "cache_status": Rule(),
        "cache_age_s": _COUNT, "pop": Rule(), "cert_sha256": Rule(longest=64),
        "cert_issuer": Rule(longest=1024),
        "cert_not_after_us": _INSTANT, "redirects": _COUNT, "hops": Rule(longest=65_536),
        "answers": Rule(longest=65_536), "mismatch": Rule(longest=4096),
        "failure": _FAILURE, "stage": _STAGE, "quality": _COUNT,
    },
    "health": {
        "ready": Rule(high=1, required=True), "reason": Rule(longest=1024), "clock_offset_ms": _SIGNED_MS,
        "clock_error_ms": _MS, "loop_lag_p99_ms": _MS, "cpu_pct": _MS, "rss_mb": _MS, "spool_rows": _BIG,
        "spool_bytes": _BIG,
    },
    "missed": {
        "task": Rule(longest=1024, required=True),
        "reason": Rule(only=tuple(results_pb2.MissReason.values()[1:]), required=True),
        "slots": Rule(required=True),  # 0: a step of the wall clock, which moves no slot
        "until_us": Rule(low=YEAR_1_US, high=YEAR_10000_US - 1, required=True),
    },
    "unlock": {
        "platform": Rule(longest=30, required=True), "rule_version": Rule(longest=64),
        "verdict": Rule(only=tuple(results_pb2.Verdict.values())), "scope": Rule(longest=64),
        "region": Rule(longest=16), "family": _FAMILY,
        "level": Rule(only=tuple(results_pb2.EvidenceLevel.values())),
        "via": Rule(only=tuple(results_pb2.Via.values())),
        "fidelity": Rule(only=tuple(results_pb2.Fidelity.values())),
        "response_ms": _MS, "exchanges": _COUNT, "detail": Rule(longest=1024),
        "evidence": Rule(longest=4096, json=True), "protocol": Rule(longest=30),
        "credential": Rule(longest=100), "failure": _FAILURE, "stage": _STAGE, "quality": _COUNT,
    },
}  # fmt: skip
"""Kind -> field -> what it may hold; as many fields as the message has (a test walks both)."""
