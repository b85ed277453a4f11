"""The fleet itself: its health, its agents, what is missing, what happened."""

from typing import Any

from sonde_collector.read.api.cursor import Order
from sonde_collector.read.api.fields import Field, Object
from sonde_collector.read.api.operation import Operation, Values
from sonde_collector.read.api.parameters import Choice, Parameter, Text
from sonde_collector.read.api.reader import Connection
from sonde_collector.read.api.resources.common import STATES, VANTAGE, active, named
from sonde_collector.read.lookup import rows
from sonde_collector.read.status import SILENT_S

_OBJECTS = ("server", "target", "origin_group")
_SEVERITIES = ("info", "warning", "critical")
_AGENT_STATES = ("live", "silent", "never_seen", "inactive", "paused")

_HEALTH = Object(
    "Health",
    (
        Field("object", "text", words=_OBJECTS),
        Field("key", "text", "Of the server, target or group"),
        Field("state", "text", "UNKNOWN: nobody fit to judge has measured it lately", words=STATES),
        Field("since", "time", "When it came into this state"),
        Field("reason", "text", "Why, in words"),
        Field("checked_at", "time", "When it was last judged"),
        Field("flapping", "flag", "It changes so often that changes are told no more"),
        Field("held", "flag", "Its provider fails as a whole, which is not judged yet"),
    ),
)
_AGENT = Object(
    "Agent",
    (
        Field("vantage", "text"),
        Field("city", "text", null=True),
        Field("country", "text", "ISO 3166-1", null=True),
        Field("is_active", "flag", "The inventory names it now"),
        Field(
            "state",
            "text",
            f"silent: nothing heard for {SILENT_S:.0f} s; paused: it is to measure nothing",
            words=_AGENT_STATES,
        ),
        Field("last_seen_at", "time", null=True),
        Field("started_at", "time", null=True),
        Field("version", "text", null=True),
        Field("ready", "flag", "It calls itself fit to judge others", null=True),
        Field("reason", "text", "Why it is not ready", null=True),
        Field("clock_offset_ms", "number", null=True),
        Field("spool_rows", "integer", "Results that wait on it", null=True),
        Field("spool_bytes", "integer", null=True),
        Field("spool_oldest_at", "time", "Of what waits", null=True),
        Field("last_error", "text", null=True),
        Field("revision", "integer", "Of the tasks it runs", null=True),
        Field("assigned_revision", "integer", "Of the tasks it is to run", null=True),
        Field("refused_tasks", "integer", "Tasks that its own policy or host does not allow", null=True),
        Field("paused_until_at", "time", "null = not paused, or until it is resumed", null=True),
        Field("pause_reason", "text", null=True),
    ),
)
_GAP = Object(
    "Gap",
    (
        Field("vantage", "text"),
        Field("stream_id", "integer", "One life of an agent's spool"),
        Field("first_seq", "integer"),
        Field("last_seq", "integer"),
        Field("results", "integer", "How many are missing"),
        Field("reason", "text"),
        Field("from_at", "time", null=True),
        Field("until_at", "time", null=True),
        Field("recorded_at", "time"),
    ),
)
_EVENT = Object(
    "Event",
    (
        Field("id", "integer"),
        Field("at", "time"),
        Field("kind", "text"),
        Field("subject", "text", "Key of what it is about"),
        Field("severity", "text", words=_SEVERITIES),
        Field("topic", "text", "The same when it begins and when it ends; null = over at once", null=True),
        Field("resolved", "flag", "What the topic names has ended"),
        Field("detail", "text", "In words"),
        Field("data", "object"),
    ),
)


def _agents(conn: Connection, values: Values) -> list[dict[str, Any]]:
    return rows(conn, "api_agents", {**values, "silent": SILENT_S})


OPERATIONS = (
    Operation(
        "listHealth",
        "/v1/health",
        "How servers, targets and origin groups are doing",
        _HEALTH,
        named("api_health"),
        (
            Parameter("object", Choice(_OBJECTS), "Only these"),
            Parameter("state", Choice(STATES), "Only those in this state"),
        ),
        (Order("object", "text"), Order("key", "text")),
    ),
    Operation(
        "listAgents",
        "/v1/agents",
        "Vantage points and the agents at them",
        _AGENT,
        _agents,
        (active(),),
        (Order("vantage", "text"),),
    ),
    Operation(
        "listGaps",
        "/v1/gaps",
        "Results that were measured and never arrived, newest first",
        _GAP,
        named("api_gaps"),
        (VANTAGE,),
        (Order("recorded_at", "time"), Order("stream_id", "integer"), Order("first_seq", "integer")),
    ),
    Operation(
        "listEvents",
        "/v1/events",
        "What a person should have heard of, newest first",
        _EVENT,
        named("api_events"),
        (
            Parameter("kind", Text(50), "Only of this kind, such as health_changed"),
            Parameter("subject", Text(300), "Only about this"),
            Parameter("severity", Choice(_SEVERITIES), "Only of this severity"),
        ),
        (Order("id", "integer"),),
    ),
)
