"""How servers and targets did over time."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

from sonde_collector.read import answers
from sonde_collector.read.api.fields import Field, Object
from sonde_collector.read.api.operation import Operation, Values
from sonde_collector.read.api.parameters import BadParameter, Choice, Parameter, Time
from sonde_collector.read.api.reader import Connection
from sonde_collector.read.api.resources.common import SERVER_KEY, TARGET_KEY, VANTAGE
from sonde_collector.read.ranges import STEPS, Kept, RangeError

_USUAL = dt.timedelta(days=30)
_PARAMETERS = (
    Parameter("from", Time(), "Where it begins; else 30 days before the end"),
    Parameter("to", Time(), "Where it ends; else now"),
    Parameter("step", Choice(STEPS), "Width of a bucket; else what suits the range"),
    VANTAGE,
)
_BUCKET = (
    Field("at", "time", "When the bucket begins"),
    Field("vantages", "integer", "Vantages that measured in it"),
)
_SERVER_BUCKET = Object(
    "ServerBucket",
    (
        *_BUCKET,
        Field("sample_count", "integer", "Runs"),
        Field("avg_download_mbps", "number", "Mean of the vantages, by weight", null=True),
        Field("median_download_mbps", "number", null=True),
        Field("download_count", "integer", null=True),
        Field("avg_upload_mbps", "number", null=True),
        Field("upload_count", "integer", null=True),
        Field("avg_ping_ms", "number", null=True),
        Field("p50_ping_ms", "number", null=True),
        Field("p95_ping_ms", "number", null=True),
        Field("ping_count", "integer", null=True),
        Field("uptime_pct", "number", "Of connections tried", null=True),
        Field("connection_count", "integer", null=True),
        Field("connection_ok", "integer", null=True),
    ),
)
_TARGET_BUCKET = Object(
    "TargetBucket",
    (
        *_BUCKET,
        Field("checks", "integer"),
        Field("ok", "integer", "Of these went well"),
        Field("ok_pct", "number", "Mean of the vantages, by weight", null=True),
        Field("status_2xx", "integer"),
        Field("status_3xx", "integer"),
        Field("status_4xx", "integer"),
        Field("status_5xx", "integer"),
        Field("cache_hits", "integer"),
        Field("cache_known", "integer", "Answers that said whether they came from a cache"),
        Field("cache_hit_pct", "number", null=True),
        Field("timeouts", "integer"),
        Field("dns_errors", "integer"),
        Field("tls_errors", "integer"),
        Field("origin_errors", "integer", "Status 5xx, refused or reset"),
        Field("avg_total_ms", "number", "Of checks that went well", null=True),
        Field("p50_total_ms", "number", null=True),
        Field("p95_total_ms", "number", null=True),
        Field("p99_total_ms", "number", null=True),
        Field("p50_first_byte_ms", "number", null=True),
        Field("p95_first_byte_ms", "number", null=True),
    ),
)
Ask = Callable[..., answers.Trend]


def operations(kept: Kept) -> Sequence[Operation]:
    """Give the operations, for tiers that are kept so long."""
    return (
        Operation(
            "getServerTrend",
            "/v1/servers/{key}/trend",
            "A server over time, over its vantages or from one",
            _trend("ServerTrend", _SERVER_BUCKET),
            _asking(answers.trend, "server", kept),
            (SERVER_KEY, *_PARAMETERS),
            missing="server or vantage",
        ),
        Operation(
            "getTargetTrend",
            "/v1/targets/{key}/trend",
            "A target over time, over its vantages or from one",
            _trend("TargetTrend", _TARGET_BUCKET),
            _asking(answers.endpoint_trend, "target", kept),
            (TARGET_KEY, *_PARAMETERS),
            missing="target or vantage",
        ),
    )


def _trend(title: str, bucket: Object) -> Object:
    return Object(
        title,
        (
            Field("step", "text", "Width of a bucket", words=STEPS),
            Field("tier", "text", "Which table answered"),
            Field("buckets", bucket, "Those with results, in order", many=True),
        ),
    )


def _asking(ask: Ask, kind: str, kept: Kept) -> Callable[[Connection, Values], dict[str, Any]]:
    def run(conn: Connection, values: Values) -> dict[str, Any]:
        hi = values["to"] or dt.datetime.now(dt.UTC)
        lo = values["from"] or hi - _USUAL
        more = {"step": values["step"], "vantage": values["vantage"], "kept": kept}
        try:
            found = ask(conn, **{kind: values["key"]}, lo=lo, hi=hi, **more)
        except RangeError as error:
            raise BadParameter("from" if values["step"] is None else "step", str(error)) from None
        return {"step": found.step, "tier": found.tier, "buckets": found.buckets}

    return run
