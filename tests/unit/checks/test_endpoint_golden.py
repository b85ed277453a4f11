"""Pure parsers of the endpoint check against golden pairs: input beside expected output."""

import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sonde_agent.checks.endpoint.cache import cache_age_s, cache_status, point_of_presence
from sonde_agent.checks.endpoint.certificate import certificate_facts
from sonde_agent.checks.endpoint.dns_message import read
from sonde_agent.checks.endpoint.http1 import Answer, NotHttp

GOLDEN = Path(__file__).parents[2] / "golden" / "endpoint"


def headers(data: bytes) -> dict[str, Any]:
    """Cache status, age and PoP out of header lines."""
    pairs = (line.partition(": ") for line in data.decode().splitlines())
    told = {name.lower(): value for name, _, value in pairs}
    return {
        "cache_status": cache_status(told),
        "cache_age_s": cache_age_s(told),
        "pop": point_of_presence(told),
    }


def answer(data: bytes) -> dict[str, Any]:
    """An HTTP answer out of its bytes."""
    got = Answer("GET", 1000, keep=True)
    try:
        got.feed(data)
        got.end()
    except (NotHttp, EOFError) as error:
        return {"error": str(error)}
    return {"status": got.status, "version": got.version, "body": got.body.decode()}


def certificate(data: bytes) -> dict[str, Any]:
    """Facts out of a PEM certificate."""
    return certificate_facts(ssl.PEM_cert_to_DER_cert(data.decode()))._asdict()


def dns(data: bytes) -> dict[str, Any]:
    """A DNS answer out of question and reply in hex."""
    asked, reply = map(bytes.fromhex, data.decode().split())
    return read(asked, reply)._asdict()


PARSERS: dict[str, Callable[[bytes], dict[str, Any]]] = {
    parser.__name__: parser for parser in (headers, answer, certificate, dns)
}
CASES = sorted(GOLDEN.glob("*/*.in"))


@pytest.mark.parametrize("case", CASES, ids=[f"{case.parent.name}/{case.stem}" for case in CASES])
def test_parser_gives_what_stands_beside_its_input(case: Path) -> None:
    """Each input gives exactly the JSON beside it."""
    assert PARSERS[case.parent.name](case.read_bytes()) == json.loads(case.with_suffix(".json").read_text())


def test_every_folder_has_a_parser_and_cases() -> None:
    """The golden folders and the parsers here are the same list."""
    assert (
        {case.parent.name for case in CASES} == set(PARSERS) == {folder.name for folder in GOLDEN.iterdir()}
    )
