"""Streaming platforms: what the newest unlock checks say."""

from sonde_collector.read import unlock
from sonde_collector.read.api.cursor import Order
from sonde_collector.read.api.fields import Field, Object
from sonde_collector.read.api.operation import Operation
from sonde_collector.read.api.parameters import Choice, Number, Parameter, Text
from sonde_collector.read.api.resources.common import COUNTRY, PROVIDER

_DAY_S = 86_400
_LEVELS = ("geo_api", "title_page", "anonymous_session", "playback")
_CELL = Object(
    "UnlockCell",
    (
        Field("server", "text", "Its key"),
        Field("provider", "text", "Its key"),
        Field("country", "text", "Where the server stands, ISO 3166-1"),
        Field("platform", "text", "Slug"),
        Field("platform_name", "text"),
        Field("family", "integer", "4 or 6; null = not told", null=True),
        Field("protocol", "text", "Of the tunnel; null = not told", null=True),
        Field("vantage", "text", "Whence it was asked; null = not told", null=True),
        Field("checked_at", "time"),
        Field(
            "verdict", "text", "null = told by another program: see is_unlocked", null=True,
            words=unlock.VERDICTS,
        ),
        Field("is_unlocked", "flag", "This check found it open"),
        Field("is_conclusive", "flag", "It says something of the exit; a network error, say, does not"),
        Field("scope", "text", "What is open: full, originals, storefront …", null=True),
        Field("region", "text", "Where the platform thinks we are, ISO 3166-1", null=True),
        Field("level", "text", "What the evidence is, weakest first", null=True, words=_LEVELS),
        Field("via", "text", "null = not measured", null=True, words=("native", "dns_proxy")),
        Field(
            "fidelity", "text", "Whose TLS the platform saw", null=True, words=("browser_tls", "plain_tls")
        ),
        Field("rule_version", "text", "Version of the rule that judged", null=True),
        Field("response_time_ms", "number", "All exchanges together", null=True),
        Field("exchanges", "integer", "Requests that were sent", null=True),
        Field("detail", "text", "What decided, in words", null=True),
        Field("evidence", "object", "What decided", null=True),
        Field(
            "cause", "text",
            "Whose fault it is: exit where canaries of the rule are well, rule where it is stale",
            null=True, words=("exit", "rule"),
        ),
    ),
)  # fmt: skip


OPERATIONS = (
    Operation(
        "listUnlock",
        "/v1/unlock",
        "The newest unlock check of each active server, platform, family and protocol",
        _CELL,
        unlock.matrix,
        (
            Parameter("server", Text(300), "Only these: a key, * and ? stand for any letters and one"),
            Parameter("platform", Text(30), "Only this one: a slug such as netflix"),
            Parameter("vantage", Text(10), "Only what these vantages were the last to check; as server"),
            COUNTRY,
            PROVIDER,
            Parameter("verdict", Choice(unlock.VERDICTS), "Only this"),
            Parameter(
                "max_age_s",
                Number(1, 366 * _DAY_S),
                "Leave out what was checked longer ago",
                unlock.MAX_AGE_S,
            ),
        ),
        (
            Order("server", "text"),
            Order("_id", "integer"),
            Order("platform", "text"),
            Order("_family", "integer"),
            Order("_protocol", "integer"),
        ),
    ),
)
