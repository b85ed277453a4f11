"""Which server is best, and how all of them do from everywhere."""

from typing import Any

from sonde_collector.read import answers
from sonde_collector.read.api.cursor import Order
from sonde_collector.read.api.fields import Field, Object
from sonde_collector.read.api.operation import Operation, Values
from sonde_collector.read.api.parameters import BadParameter, Choice, Codes, Number, Parameter
from sonde_collector.read.api.reader import Connection
from sonde_collector.read.api.resources.common import COUNTRY, PROTOCOL, PROVIDER, named
from sonde_collector.read.lookup import METRICS, BadArgument, UnknownName

_RANKED = Object(
    "RankedServer",
    (
        Field("server", "text", "Its key"),
        Field("provider", "text", "Its key"),
        Field("provider_name", "text"),
        Field("country", "text", "ISO 3166-1"),
        Field("country_name", "text"),
        Field("city", "text"),
        Field("protocols", "text", many=True),
        Field("platforms", "text", "Streaming platforms that the newest check of each found open", many=True),
        Field("uptime_pct", "number", "Of connections tried", null=True),
        Field("uptime_low_pct", "number", "Lower end of Wilson's 95 % interval: what ranks first", null=True),
        Field("uptime_high_pct", "number", "Upper end", null=True),
        Field("uptime_samples", "number", "Connections of one vantage that would tell as much", null=True),
        Field("connection_count", "integer", "Connections tried"),
        Field("connection_ok", "integer", "Of these connected"),
        Field("avg_download_mbps", "number", "Mean of the vantages, by weight: what ranks second", null=True),
        Field("median_download_mbps", "number", null=True),
        Field("download_count", "integer"),
        Field("avg_upload_mbps", "number", null=True),
        Field("median_upload_mbps", "number", null=True),
        Field("upload_count", "integer"),
        Field("avg_ping_ms", "number", "What ranks third", null=True),
        Field("median_ping_ms", "number", null=True),
        Field("ping_count", "integer"),
        Field("sample_count", "integer", "Runs"),
        Field("vantages", "integer", "Vantages that measured it"),
        Field("newest_at", "time", "Newest run", null=True),
    ),
)
_CELL = Object(
    "MatrixCell",
    (
        Field("server", "text", "Its key"),
        Field("vantage", "text"),
        Field("value", "number", "Last known; connection_success is 1 or 0"),
        Field("at", "time", "When it was measured"),
    ),
)


def _ranking(conn: Connection, values: Values) -> list[dict[str, Any]]:
    asked = {name: values[name] for name in ("country", "provider", "protocol", "vantages", "days", "limit")}
    try:
        return answers.ranking(conn, **asked, after=values["after_cursor"])
    except UnknownName:
        return []
    except BadArgument as error:
        raise BadParameter("after", str(error)) from None


OPERATIONS = (
    Operation(
        "listRanking",
        "/v1/ranking",
        "Active servers, the best first, by the last days (UTC)",
        _RANKED,
        _ranking,
        (
            COUNTRY,
            PROVIDER,
            PROTOCOL,
            Parameter("vantages", Codes(), "Only what these measured: codes, with commas between"),
            Parameter("days", Number(1, answers.MOST_DAYS), "Whole days back, and the begun one", default=7),
        ),
        (Order("cursor", "text"),),
    ),
    Operation(
        "listMatrix",
        "/v1/matrix",
        "The last known value of one metric, server by vantage",
        _CELL,
        named("api_matrix"),
        (Parameter("metric", Choice(METRICS), "Which", default="ping_ms"), COUNTRY, PROVIDER),
        (Order("server", "text"), Order("_id", "integer"), Order("vantage", "text")),
    ),
)
