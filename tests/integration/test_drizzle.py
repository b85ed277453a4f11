"""A website's client: Drizzle with the first seed's own TypeScript schema reads tables, latest and trends."""

import datetime as dt
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support.measured import measure, roll

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(400)]
CLIENT = Path(__file__).parents[1] / "drizzle"
NOW = dt.datetime.now(dt.UTC)
INVENTORY = """
INSERT INTO countries (iso_code, name) VALUES ('DE', 'Germany');
INSERT INTO cities (country_id, name, latitude, longitude) VALUES (1, 'Berlin', 52.52, 13.405);
INSERT INTO providers (name, slug) VALUES ('P', 'p');
INSERT INTO servers (provider_id, city_id, hostname, ip_address) VALUES (1, 1, 'a.example', '192.0.2.1'),
  (1, 1, 'b.example', NULL), (1, 1, 'c.example', NULL);
INSERT INTO probe_locations (code, city_id) VALUES ('ber1', 1);
INSERT INTO server_protocols VALUES (1, 1, 51820);
INSERT INTO streaming_platforms (slug, name) VALUES ('tv1', 'TV 1');
"""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, compiled; its packages are those of package.json and nothing of them stays."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("drizzle")
    shutil.copytree(CLIENT, folder, dirs_exist_ok=True)
    install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm can't have the packages of drizzle/package.json: {done.stderr.strip()[-300:]}")
    done = subprocess.run(
        ["npm", "run", "-s", "build"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return folder / "built" / "client.js"


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    """A migrated database with two measured servers and one that nobody measured."""
    rows: list[dict[str, Any]] = [
        {"server_id": server, "probe_id": 1, "measured_at": NOW - dt.timedelta(hours=hours), "stream_id": 1,
         "seq": 100 * server + hours, "ping_ms": 0.25 * server, "download_mbps": speed,
         "connection_success": True, "protocol_id": 1}
        for server, hours, speed in ((1, 50, 100.0), (1, 26, 300.0), (1, 1, None), (2, 2, 800.0))
    ]  # fmt: skip
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(INVENTORY)
        measure(conn, rows)
        roll(conn)
    return database_url


def test_a_drizzle_client_reads_tables_latest_and_trends(client: Path, url: str) -> None:
    """What Drizzle gives is what was measured: the schema's types fit, and NULL is null."""
    done = subprocess.run(["node", client, url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    berlin = {"provider": "P", "city": "Berlin", "country": "DE"}
    assert read["inventory"] == [{"hostname": f"{name}.example", **berlin} for name in "abc"]
    assert read["spoken"] == [{"server": 1, "protocol": "WireGuard"}]
    assert read["vantages"] == [{"id": 1, "code": "ber1", "cityId": 1, "provider": None, "isActive": True}]
    assert read["platforms"] == [{"id": 1, "slug": "tv1", "name": "TV 1", "region": None}]
    assert read["latest"] == [
        {"server": "b.example", "download": "800.00", "ping": 0.5},
        {"server": "a.example", "download": "300.00", "ping": 0.25},
    ]
    assert read["trend"] == read["daily"]
    assert sum(day["rows"] for day in read["trend"]) == 3
    assert {day["download"] for day in read["trend"]} >= {"300.00"}
    assert read["hourly"] == [{"rows": 3}]
    ranked = {row["server_id"]: row for row in read["ranking"]}
    assert ranked.keys() == {1, 2}
    assert (ranked[1]["uptime_pct"], ranked[1]["protocols"]) == ("100.0", ["WireGuard"])


def test_the_schema_is_the_seeds(client: Path) -> None:
    """schema.ts defines the seed's eight tables and nothing of ours."""
    text = (CLIENT / "schema.ts").read_text()
    assert text.count("= pgTable(") == 8
    assert "sonde" not in text
    assert (client.parents[1] / "package.json").exists()
