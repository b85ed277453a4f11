"""`sonde-collector unlock` and /v1/unlock: the same cells, as people and programs read them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.api import Running, seeded, serving
from support.postgres import Server
from support.programs import run

from sonde_collector.unlock.voiding import void

pytestmark = pytest.mark.postgres


@pytest.fixture
def api(postgres_server: Server) -> Iterator[Running]:
    """Give a serving collector with a small fleet."""
    with seeded(postgres_server, "unlock_commands") as url, serving(url) as running:
        yield running


@pytest.fixture
def config(api: Running, tmp_path: Path) -> Path:
    """Give a configuration that names its database."""
    path = tmp_path / "collector.toml"
    path.write_text(f'state_dir = "{tmp_path}"\n[database]\nurl = "{api.url}"\n')
    return path


def cells(api: Running, **asked: str) -> list[dict[str, object]]:
    """Give one page of the API."""
    answer = api.get("/v1/unlock", params={"limit": "500", **asked})
    assert answer.status_code == 200, answer.text
    items: list[dict[str, object]] = answer.json()["items"]
    return items


def test_filters_of_the_api(api: Running) -> None:
    """Each filter narrows to what it names; globs are globs, and LIKE's signs are letters."""
    whole = cells(api)
    assert len(whole) == 11 * 2 * 2 + 1
    for asked, holds in (
        ({"server": "s1*"}, lambda cell: cell["server"].startswith("s1")),
        ({"platform": "hulu"}, lambda cell: cell["platform"] == "hulu"),
        ({"verdict": "blocked"}, lambda cell: cell["verdict"] == "blocked"),
        (
            {"country": "DE", "provider": "acme"},
            lambda cell: (cell["country"], cell["provider"]) == ("DE", "acme"),
        ),
        ({"vantage": "sin?"}, lambda cell: cell["vantage"] == "sin1"),
    ):
        assert cells(api, **asked) == [cell for cell in whole if holds(cell)]
    assert cells(api, server="s%") == cells(api, platform="nothing") == []
    assert {cell["family"] for cell in cells(api, max_age_s="60")} == {None}
    first = whole[1]
    assert first["evidence"] == {"step": "licensed"}
    assert first["level"] == "title_page"


def test_voided_checks_leave_the_command_and_the_api(api: Running, config: Path) -> None:
    """What a voided version judged is shown by neither; what another program wrote stays."""
    with api.connect() as conn:
        void(conn, "netflix", "1", "a marker was wrong")
    assert [(cell["server"], cell["verdict"]) for cell in cells(api, platform="netflix")] == [("s1", None)]
    told = run("sonde-collector", "unlock", "--platform", "netflix", "--json", "--config", str(config)).stdout
    assert [(row["server"], row["is_unlocked"]) for row in json.loads(told)["checks"]] == [("s1", True)]


def test_the_command_says_what_the_api_says(api: Running, config: Path) -> None:
    """The table has a line for each cell, with verdict, region, via, age, vantage and whose fault it is."""
    api.execute(
        "INSERT INTO sonde.canary_checks (platform_id, probe_id, checked_at, stream_id, seq, verdict,"
        " rule_version) VALUES (2, 1, now(), 1, 900, 'not_in_region', '1')"
    )
    text = run(
        "sonde-collector", "unlock", "--platform", "hulu", "--server", "s3", "--config", str(config)
    ).stdout
    lines = text.splitlines()
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["s3", "hulu", "network_error"],
        ["s3", "hulu", "inconclusive"],
    ]
    (fault,) = (line for line in lines if "inconclusive" in line)
    for word in ("NL", "native", "v4", "OpenVPN-UDP", "nyc1", "60 min ago", "exit", "licensed: og:video"):
        assert word in fault
    assert "Rules by their canaries" in lines
    assert lines[-1].split()[:3] == ["hulu", "1", "fine"]
