"""The read API against its own OpenAPI document: whatever it is asked, the answer is one it describes."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from support.api import Running, seeded, serving
from support.postgres import Server

pytestmark = pytest.mark.postgres
EXAMPLES = 15
"""Cases of each operation: all together some hundred requests."""
TOGETHER = {"after", "from", "to", "step"}
"""Parameters whose values must fit others: each may be good and all together not."""
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
    unsupported_method,
]
SETTINGS = settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def api(postgres_server: Server) -> Iterator[Running]:
    """Give a serving collector with a small fleet."""
    with seeded(postgres_server, "api_fuzz") as url, serving(url, statement_timeout=30.0) as running:
        yield running


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_the_api_is_what_its_document_says(api: Running, mode: GenerationMode) -> None:
    """Good data is answered and bad data refused, in the document's shapes and never by a 5xx."""
    document = schemathesis.openapi.from_url(f"{api.base}/openapi.json")
    known = {"servers": "s1", "targets": "origin"}
    tried = 0
    for found in document.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not operation.path_parameters and not operation.query:
            continue

        key = known.get(operation.path.split("/")[2], "")
        there = "{key}" in operation.path and tried % 2 and mode is GenerationMode.POSITIVE
        path = {"path_parameters": {"key": key}} if there else {}

        @given(case=operation.as_strategy(generation_mode=mode, **path))
        @SETTINGS
        def run(case: Case) -> None:
            answer = case.call()
            case.validate_response(answer, checks=CHECKS)
            if answer.status_code == 400 and mode is GenerationMode.POSITIVE:
                assert answer.json()["parameter"] in TOGETHER, answer.text

        run()
        tried += 1
    assert tried >= 10
