"""Who is let in: keys, their rates, loopback alone without, and nothing of a key in the database."""

import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from support.api import Running, seeded, serving
from support.edges import Authority
from support.postgres import Server
from support.programs import eventually, free_port, run

from sonde_collector.access import keys
from sonde_collector.access.book import KEPT_S

pytestmark = pytest.mark.postgres
EVERY = ("/", "/openapi.json", "/v1/servers", "/v1/ranking", "/metrics", "/metrics/targets", "/nowhere")


@pytest.fixture(scope="module")
def database(postgres_server: Server) -> Iterator[str]:
    """Give a database with a small fleet."""
    with seeded(postgres_server, "api_access") as url:
        yield url


@pytest.fixture(scope="module")
def api(database: str) -> Iterator[Running]:
    """Give a collector on loopback, as it comes."""
    with serving(database) as running:
        yield running


def bearer(token: str) -> dict[str, str]:
    """Give the header of a key."""
    return {"Authorization": f"Bearer {token}"}


def refused(answer: httpx.Response) -> None:
    """Assert that an answer is a 401 that says what to do."""
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    if answer.request.method != "HEAD":
        assert answer.json()["title"] == "Key needed"


@pytest.mark.parametrize(
    "header",
    [
        {"X-Forwarded-For": "203.0.113.1"},
        {"X-Forwarded-For": ""},
        {"Forwarded": "for=203.0.113.1"},
        {"Via": "1.1 proxy"},
        {"X-Real-IP": "127.0.0.1"},
        {"Host": "rebound.example:7480"},
        {"Host": "203.0.113.1"},
        {"Authorization": "Basic eDp5"},
        {"Authorization": "Bearer sonde_" + "A" * 43},
        {"Authorization": "Bearer nonsense"},
        {"Authorization": ""},
    ],
)
def test_who_came_through_a_proxy_is_no_neighbour(api: Running, header: dict[str, str]) -> None:
    """A proxy's header, a foreign name in Host, or a bad key ends anonymity everywhere but in health."""
    for path in EVERY:
        refused(api.get(path, headers=header))
        refused(api.client.head(path, headers=header))
    assert api.get("/healthz", headers=header).text == "ok\n"
    assert "checks" not in api.get("/readyz", headers=header).json()
    assert "checks" in api.get("/readyz").json()


def test_a_key_opens_and_says_what_is_left(api: Running) -> None:
    """A key opens everything, also through a proxy, and each answer says how many requests are left."""
    token = api.key("opens", rate=100)
    through = {**bearer(token), "X-Forwarded-For": "203.0.113.1", "Host": "sonde.example"}
    for left, path in zip(range(99, 0, -1), EVERY[:-1], strict=False):
        answer = api.get(path, headers=through)
        assert answer.status_code == 200, answer.text
        assert answer.headers["ratelimit-limit"] == "100"
        assert int(answer.headers["ratelimit-remaining"]) >= left
        assert 0 < int(answer.headers["ratelimit-reset"]) <= 60
    assert "ratelimit-limit" not in api.get("/v1/servers").headers


def test_never_means_never(database: str) -> None:
    """With anonymous = "never" loopback needs a key too, and health is still open."""
    with serving(database, anonymous="never") as api:
        for path in EVERY:
            refused(api.get(path))
        assert api.get("/healthz").status_code == 200
        assert api.get("/v1/servers", headers=bearer(api.key("never"))).status_code == 200


def test_ten_clients_share_a_rate(api: Running) -> None:
    """Ten clients of one key get together what it may ask and 429 beyond it; another key's and ours go on."""
    token, other = api.key("ten", rate=30), api.key("other", rate=30)

    def ask(_: int) -> httpx.Response:
        return api.get("/v1/servers?limit=1", headers=bearer(token))

    began = time.monotonic()
    with ThreadPoolExecutor(10) as clients:
        answers = list(clients.map(ask, range(100)))
    took = time.monotonic() - began
    good = [each for each in answers if each.status_code == 200]
    late = [each for each in answers if each.status_code == 429]
    assert len(good) + len(late) == 100
    assert 30 <= len(good) <= 30 + took * 30 / 60 + 1
    for each in late:
        assert 1 <= int(each.headers["retry-after"]) <= 2
        assert each.headers["ratelimit-remaining"] == "0"
        assert each.json()["title"] == "Too many requests"
    assert api.get("/v1/servers", headers=bearer(other)).status_code == 200
    assert api.get("/v1/servers").status_code == 200


def test_a_key_ends(api: Running) -> None:
    """A revoked key is refused within seconds, an expired one at once; its name is free again."""
    token = api.key("ends")
    assert api.get("/v1/servers", headers=bearer(token)).status_code == 200
    with pytest.raises(AssertionError):
        api.key("ends")
    api.execute("UPDATE sonde.api_keys SET revoked_at = now() WHERE name = 'ends'")
    eventually(
        lambda: api.get("/v1/servers", headers=bearer(token)).status_code == 401,
        KEPT_S + 20,
        "still open",
    )
    again = api.key("ends", expires_s=1.0)
    assert again != token
    eventually(
        lambda: api.get("/v1/servers", headers=bearer(again)).status_code == 401,
        KEPT_S + 20,
        "still open",
    )
    assert api.key("ends") != again


def test_no_token_is_in_the_database(api: Running, postgres_server: Server) -> None:
    """A dump holds no token, whole or in part, only its hash; when it was used is written down."""
    token = api.key("dumped")
    assert api.get("/v1/servers", headers=bearer(token)).status_code == 200
    dump = subprocess.run(
        [postgres_server.binaries / "pg_dump", api.url], capture_output=True, text=True, check=True
    ).stdout
    assert "dumped" in dump
    secret = token.removeprefix("sonde_")
    assert not any(secret[i : i + 8] in dump for i in range(len(secret) - 8))


async def test_uses_are_written_down(api: Running) -> None:
    """When a key was last used stands in the table."""
    token = api.key("used")
    assert api.get("/v1/servers", headers=bearer(token)).status_code == 200
    await api.port.book.write_uses()
    with api.connect() as conn:
        used = {row["name"]: row["last_used_at"] for row in keys.ls(conn, revoked=False)}
    assert used["used"] is not None


def test_a_certificate_that_is_none_is_told(database: str, tmp_path: Path) -> None:
    """`serve` with a certificate and another's key ends at once, with one line that names the settings."""
    cert, _ = Authority(tmp_path / "a").leaf("sonde.example")
    _, key = Authority(tmp_path / "b").leaf("sonde.example")
    config = tmp_path / "collector.toml"
    config.write_text(
        f'state_dir = "state"\n[database]\nurl = "{database}"\n[grpc]\nlisten = ["127.0.0.1:{free_port()}"]\n'
        f'[http]\nlisten = "0.0.0.0:{free_port()}"\ntls_cert = "{cert}"\ntls_key = "{key}"\n'
    )
    done = run("sonde-collector", "serve", "--config", str(config))
    assert done.returncode == 1
    assert "http.tls_cert, tls_key: not a certificate and its own key" in done.stderr
    assert "Traceback" not in done.stderr


def test_https_for_other_hosts(database: str, tmp_path: Path) -> None:
    """An address that others reach speaks TLS 1.2 or newer, and nobody there is anonymous."""
    cert, key = Authority(tmp_path).leaf("sonde.example")
    with serving(database, host="0.0.0.0", tls=(cert, key)) as api:
        assert api.get("/healthz").text == "ok\n"
        refused(api.get("/v1/servers"))
        assert api.get("/v1/servers", headers=bearer(api.key("https"))).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(api.base.replace("https:", "http:") + "/healthz", timeout=20)
    with serving(database, tls=(cert, key)) as api:
        assert api.get("/v1/servers").status_code == 200
