"""The OpenAPI document, written from what the operations declare. **Pure**."""

from collections.abc import Iterable
from typing import Any

from sonde_collector.read.api.fields import Field, Object
from sonde_collector.read.api.operation import Operation

PROBLEM = Object(
    "Problem",
    (
        Field("type", "text"),
        Field("title", "text", "What kind of thing is wrong"),
        Field("status", "integer"),
        Field("detail", "text", "What is wrong here, and what would be right"),
        Field("parameter", "text", "The parameter at fault; null where none is", null=True),
    ),
)
_ABOUT = (
    "What Sonde has measured. Times are RFC 3339 in UTC, units stand in the names, null means not measured. "
    "Lists come in pages: `next` of one is `after` of the following, and a Link header says the same. "
    "Answers carry an ETag."
)
_RETRY = {"Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}}
_WRONG: dict[str, tuple[str, dict[str, Any]]] = {
    "400": ("A parameter is unknown or not what it must be", {}),
    "401": ("No valid key", {"WWW-Authenticate": {"schema": {"type": "string"}}}),
    "429": ("The key has no requests left", _RETRY),
    "503": ("Busy, too slow, or the database is away", _RETRY),
}  # fmt: skip


def document(operations: Iterable[Operation], version: str) -> dict[str, Any]:
    """Give the document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sonde read API", "version": version, "description": _ABOUT},
        "paths": {each.path: {"get": _operation(each)} for each in operations},
        "components": {
            "schemas": {"Problem": PROBLEM.schema()},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key of `sonde-collector api-key add`; on the collector's own host "
                    "none is needed unless `[api] anonymous` says so",
                }
            },
        },
        "security": [{}, {"key": []}],
    }


def _operation(operation: Operation) -> dict[str, Any]:
    etag = {"ETag": {"schema": {"type": "string"}}}
    headers = {**etag, "Link": {"description": 'rel="next"', "schema": {"type": "string"}}}
    wrong = dict(_WRONG)
    if operation.missing:
        wrong["404"] = (f"No such {operation.missing}", {})
    return {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [each.document() for each in operation.takes],
        "responses": {
            "200": {
                "description": operation.summary,
                "headers": headers if operation.order else etag,
                "content": {"application/json": {"schema": operation.answer.schema()}},
            },
            "304": {"description": "If-None-Match names what it still is", "headers": etag},
            **{status: _problem(*wrong[status]) for status in sorted(wrong)},
        },
    }


def _problem(about: str, headers: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": about,
        "headers": headers,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
