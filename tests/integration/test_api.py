"""The read API over real HTTP on a real database: answers, ETags, and what it refuses."""

import datetime as dt
import gzip
import json
from collections.abc import Iterator
from itertools import pairwise

import httpx
import pytest
from support.api import Running, seeded, serving
from support.postgres import Server

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def api(postgres_server: Server) -> Iterator[Running]:
    """Give a serving collector with a small fleet."""
    with seeded(postgres_server, "api_answers") as url, serving(url) as running:
        yield running


def test_servers(api: Running) -> None:
    """Servers come by key with their place, protocols and health; filters narrow them."""
    everyone = api.get("/v1/servers").json()["items"]
    assert [each["key"] for each in everyone] == sorted(f"s{n}" for n in range(1, 12))
    one = next(each for each in everyone if each["key"] == "s1")
    assert one["health_since"].endswith("Z")
    del one["health_since"]
    assert one == {
        "key": "s1", "provider": "beta", "provider_name": 'Beta "quoted" \\ VPN', "country": "NL",
        "city": "Amsterdam", "hostname": "h1.example", "ip_address": None, "is_active": True,
        "protocols": ["OpenVPN-UDP", "WireGuard"], "health": "HEALTHY",
    }  # fmt: skip
    assert {each["country"] for each in api.get("/v1/servers?country=DE").json()["items"]} == {"DE"}
    assert len(api.get("/v1/servers?protocol=OpenVPN-UDP").json()["items"]) == 4
    assert [each["key"] for each in api.get("/v1/servers?active=false").json()["items"]] == ["h12.example"]
    assert api.get("/v1/servers?provider=nobody").json() == {"items": [], "next": None}


def test_one_server(api: Running) -> None:
    """One server shows each metric's last value with its own time; what was not measured is null."""
    latest = api.get("/v1/servers/s3").json()["latest"]
    assert [(each["vantage"], each["protocol"]) for each in latest] == [
        (vantage, protocol) for vantage in ("ams1", "nyc1", "sin1") for protocol in (None, "WireGuard")
    ]
    direct, tunnel = latest[:2]
    assert (direct["ping_ms"], direct["download_mbps"], direct["connection_success"]) == (14, None, False)
    assert (tunnel["download_mbps"], tunnel["upload_mbps"], tunnel["upload_at"]) == (103, None, None)
    moment = dt.datetime.fromisoformat(tunnel["download_at"])
    assert moment.utcoffset() == dt.timedelta(0)


def test_ranking_and_matrix(api: Running) -> None:
    """The fastest of equals leads, with interval and counts; filters narrow; the matrix has all cells."""
    ranked = api.get("/v1/ranking").json()["items"]
    assert [each["server"] for each in ranked] == [f"s{n}" for n in range(11, 0, -1)]
    best = ranked[0]
    assert (best["avg_download_mbps"], best["avg_upload_mbps"], best["platforms"]) == (111, None, ["hulu"])
    assert best["uptime_low_pct"] < best["uptime_pct"] < best["uptime_high_pct"]
    assert {each["country"] for each in api.get("/v1/ranking?country=NL&days=30").json()["items"]} == {"NL"}
    (one, *_) = api.get("/v1/ranking?vantages=ams1,sin1&limit=1").json()["items"]
    assert one["vantages"] == 2
    for nobody in ("country=ZZ", "provider=none", "protocol=none", "vantages=none"):
        assert api.get(f"/v1/ranking?{nobody}").json() == {"items": [], "next": None}
    cells = api.get("/v1/matrix?metric=download_mbps&limit=500").json()["items"]
    assert [(each["server"], each["vantage"]) for each in cells] == sorted(
        (f"s{server}", vantage) for server in range(1, 12) for vantage in ("ams1", "nyc1", "sin1")
    )
    assert cells[0]["value"] == 101


def test_trends(api: Running) -> None:
    """A trend says which table answered, and its buckets hold all runs of the range."""
    hours = api.get("/v1/servers/s1/trend?step=hour").json()
    assert (hours["step"], hours["tier"]) == ("hour", "hourly")
    assert sum(bucket["sample_count"] for bucket in hours["buckets"]) == 60
    assert sum(bucket["connection_ok"] for bucket in hours["buckets"]) == 30
    one = api.get("/v1/servers/s1/trend?step=hour&vantage=nyc1").json()["buckets"]
    assert sum(bucket["sample_count"] for bucket in one) == 20
    minutes = api.get("/v1/targets/origin/trend", params={"from": _ago(1), "step": "minute"}).json()
    assert minutes["tier"] == "minute"
    assert sum(bucket["checks"] for bucket in minutes["buckets"]) == 60
    assert sum(bucket["timeouts"] for bucket in minutes["buckets"]) == 20
    assert api.get("/v1/servers/s1/trend", params={"to": _ago(24 * 400)}).json()["buckets"] == []


def _ago(hours: int) -> str:
    return f"{dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(
    ("path", "status", "parameter"),
    [
        ("/v1/servers/s1/trend?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 400, "from"),
        ("/v1/servers/s1/trend?from=2001-01-01T00:00:00Z&step=hour", 400, "step"),
        ("/v1/servers/s1/trend?from=2001-01-01T00:00:00Z&to=2001-01-01T01:00:00Z&step=minute", 400, "step"),
        ("/v1/servers/s1/trend?from=2026-01-02", 400, "from"),
        ("/v1/servers/s1/trend?from=2026-01-02T00:00:00", 400, "from"),
        ("/v1/servers/s1/trend?from=2026-02-30T00:00:00Z", 400, "from"),
        ("/v1/servers/s1/trend?to=9999-12-31T23:59:59-23:59", 400, "to"),
        ("/v1/servers/s1/trend?step=week", 400, "step"),
        ("/v1/servers/nope/trend", 404, None),
        ("/v1/servers/s1/trend?vantage=nope", 404, None),
        ("/v1/targets/nope/trend", 404, None),
    ],
)
def test_trends_that_can_not_be(api: Running, path: str, status: int, parameter: str | None) -> None:
    """A range that is empty, too fine, no longer kept or no time at all is told, as is an unknown name."""
    answer = api.get(path)
    assert (answer.status_code, answer.json()["parameter"]) == (status, parameter), answer.text


def test_one_target(api: Running) -> None:
    """One target shows the newest check of each vantage, and the list counts them."""
    latest = api.get("/v1/targets/origin").json()["latest"]
    assert [(each["vantage"], each["ok"], each["failure"]) for each in latest] == [
        ("ams1", True, None), ("nyc1", True, None), ("sin1", False, "timeout"),
    ]  # fmt: skip
    dns, origin = api.get("/v1/targets").json()["items"]
    assert (origin["vantages_up"], origin["vantages"], origin["address"]) == (2, 3, "https://origin.example/")
    assert (dns["vantages"], dns["measured_at"], dns["health"]) == (0, None, "UNKNOWN")


def test_health_agents_and_events(api: Running) -> None:
    """Health goes by object and state; agents that never spoke are told as such; events come newest first."""
    assert len(api.get("/v1/health").json()["items"]) == 3
    (sick,) = api.get("/v1/health?object=server&state=UNHEALTHY").json()["items"]
    assert (sick["key"], sick["reason"]) == ("s2", "no handshake from ams1, nyc1")
    agents = api.get("/v1/agents").json()["items"]
    assert [(each["vantage"], each["state"], each["city"]) for each in agents] == [
        ("ams1", "never_seen", "Amsterdam"), ("nyc1", "never_seen", None), ("sin1", "never_seen", "Berlin"),
    ]  # fmt: skip
    for n in range(3):
        api.execute("INSERT INTO sonde.events (kind, subject, detail) VALUES ('shown', %s, 'x')", f"e{n}")
    events = api.get("/v1/events?kind=shown").json()["items"]
    assert [each["subject"] for each in events] == ["e2", "e1", "e0"]
    assert (events[0]["severity"], events[0]["resolved"], events[0]["data"]) == ("warning", False, {})


def test_an_etag_saves_the_body(api: Running) -> None:
    """If-None-Match with what an answer had gives 304 without a body, until the answer is another."""
    first = api.get("/v1/servers/s1")
    etag = first.headers["etag"]
    for sent in (etag, f'"other", {etag}', etag.removeprefix("W/"), "*"):
        again = api.get("/v1/servers/s1", headers={"If-None-Match": sent})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert api.get("/v1/servers/s1", headers={"If-None-Match": '"other"'}).status_code == 200
    api.execute("UPDATE servers SET hostname = 'new.example' WHERE id = 1")
    try:
        assert api.get("/v1/servers/s1", headers={"If-None-Match": etag}).status_code == 200
    finally:
        api.execute("UPDATE servers SET hostname = 'h1.example' WHERE id = 1")


def test_head_and_other_methods(api: Running) -> None:
    """HEAD gives GET's headers; whatever would write is 405 and says what is allowed."""
    head, got = api.client.head("/v1/servers"), api.get("/v1/servers")
    assert head.content == b""
    assert head.headers["etag"] == got.headers["etag"]
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        answer = api.client.request(method, "/v1/servers")
        assert answer.status_code == 405
        assert {each.strip() for each in answer.headers["allow"].split(",")} == {"GET", "HEAD"}
        assert answer.headers["content-type"] == "application/problem+json"
        assert "access-control-allow-origin" not in answer.headers


def test_large_answers_are_compressed_for_who_takes_it(api: Running) -> None:
    """Gzip comes only where it is let in, and holds the same answer."""
    plain = api.client.build_request("GET", "/v1/servers", headers={"Accept-Encoding": "identity"})
    body = api.client.send(plain)
    assert "content-encoding" not in body.headers
    packed = api.client.send(
        api.client.build_request("GET", "/v1/servers", headers={"Accept-Encoding": "br, gzip;q=0.5"}),
        stream=True,
    )
    raw = b"".join(packed.iter_raw())
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == body.content
    assert packed.headers["etag"] == body.headers["etag"]
    refused = api.get("/v1/servers", headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in refused.headers


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("colour=red", "colour"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=-1", "limit"),
        ("limit=1e2", "limit"),
        ("limit=" + "9" * 5000, "limit"),
        ("limit=٣", "limit"),
        ("limit=", "limit"),
        ("limit=5&limit=6", "limit"),
        ("country=de", "country"),
        ("country=DEU", "country"),
        ("active=yes", "active"),
        ("provider=", "provider"),
        ("provider=a%00b", "provider"),
        ("provider=" + "x" * 51, "provider"),
        ("protocol=%0a", "protocol"),
        ("after=" + "A" * 4000, "after"),
        ("after=W10", "after"),
        ("after=WyJ4IiwxZTk5OSwxXQ", "after"),
        ("%F0%9F%92%A9=1", "\N{PILE OF POO}"),
        ("limit%00=1", "limit\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_bad_parameters_are_told(api: Running, query: str, parameter: str) -> None:
    """What is unknown or not what it must be is a 400 that names the parameter and what would be right."""
    answer = api.get(f"/v1/servers?{query}")
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["parameter"] == parameter
    assert problem["detail"]
    assert len(answer.content) < 600


@pytest.mark.parametrize(
    "text",
    [
        "'; DROP TABLE servers; --",
        "x' OR '1'='1",
        "$1",
        "%(limit)s",
        "%s",
        "\\",
        "\N{PILE OF POO}" * 10,
        "\u202e\u0000".strip("\0"),
        "a" * 30,
        "' UNION SELECT hash FROM sonde.api_keys --",
    ],
)
def test_foreign_text_is_only_text(api: Running, text: str) -> None:
    """Text that looks like SQL, a format or odd Unicode finds nothing and breaks nothing."""
    for path, name in (
        ("/v1/servers", "provider"),
        ("/v1/events", "subject"),
        ("/metrics/targets", "server"),
    ):
        answer = api.get(path, params={name: text})
        assert answer.status_code == 200, answer.text
    for path in ("/v1/servers/", "/v1/targets/"):
        answer = api.get(path + httpx.URL(f"http://x/{text}".replace("%", "%25")).raw_path.decode()[1:])
        assert answer.status_code == 404
    assert len(api.get("/v1/servers").json()["items"]) == 11


def test_paths_that_are_not_there(api: Running) -> None:
    """An unknown path or key is a 404 with a problem, and no redirect."""
    for path in (
        "/v1",
        "/v1/",
        "/v1/servers/",
        "/v2/servers",
        "/v1/servers/nope",
        "/v1/servers/s1/x",
        "/metrics/x",
    ):
        answer = api.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path


def test_the_index_names_every_path(api: Running) -> None:
    """A person who opens / finds every path of the document, and links that work."""
    page = api.get("/").text
    paths = json.loads(api.get("/openapi.json").text)["paths"]
    assert all(f"<code>{path}</code>" in page for path in paths)
    for link in [part.partition('"')[0] for part in page.split('href="')[1:]]:
        assert api.get(link).status_code in (200, 503)  # readyz tells what it finds


def test_two_answers_in_a_row_are_one(api: Running) -> None:
    """Nothing in an answer changes while nothing was measured: no ages, no order by chance."""
    for path in ("/v1/servers", "/v1/servers/s2", "/v1/targets", "/v1/ranking", "/v1/matrix", "/v1/agents"):
        first, second = (api.get(path).content for _ in range(2))
        assert first == second
    assert all(one["key"] < two["key"] for one, two in pairwise(api.get("/v1/servers").json()["items"]))
