"""Pages of the read API: together they are the whole, whatever comes or goes meanwhile."""

import base64
import json
from collections.abc import Iterator

import pytest
from support.api import Running, seeded, serving
from support.postgres import Server

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def api(postgres_server: Server) -> Iterator[Running]:
    """Give a serving collector with a small fleet."""
    with seeded(postgres_server, "api_pages") as url, serving(url) as running:
        yield running


def walk(api: Running, path: str, limit: int, **asked: str) -> list[dict[str, object]]:
    """Follow `Link: rel="next"` to the end; every page but the last is full."""
    items: list[dict[str, object]] = []
    answer = api.get(path, params={"limit": limit, **asked})
    while True:
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        if page["next"] is None:
            assert "link" not in answer.headers
            return items
        assert len(page["items"]) == limit
        answer = api.get(answer.links["next"]["url"])


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 11, 12, 500])
def test_pages_add_up(api: Running, limit: int) -> None:
    """Pages of any size are together what one page holds."""
    some = ("/v1/servers", "/v1/health", "/v1/agents", "/v1/targets", "/v1/ranking", "/v1/matrix")
    for path in (*some, "/v1/unlock"):
        assert walk(api, path, limit) == api.get(path, params={"limit": 500}).json()["items"]


@pytest.mark.parametrize("path", ["/v1/events", "/v1/gaps"])
def test_a_walk_sees_all_that_was_there_while_rows_come(api: Running, path: str) -> None:
    """Rows that are added during a walk neither repeat nor hide any that were there before it."""

    def add(count: int) -> None:
        api.execute("INSERT INTO sonde.events (kind, subject, detail) SELECT 'walk', n::text, '' "
                    "FROM generate_series(1, %s) n", count)  # fmt: skip
        api.execute("INSERT INTO sonde.gaps (stream_id, first_seq, last_seq, reason) SELECT 1, "
                    "coalesce((SELECT max(last_seq) FROM sonde.gaps), 0) + n, "
                    "coalesce((SELECT max(last_seq) FROM sonde.gaps), 0) + n, 'dropped' "
                    "FROM generate_series(1, %s) n", count)  # fmt: skip

    def name(item: dict[str, object]) -> object:
        return item.get("id") or item["first_seq"]

    add(20)
    before = [name(item) for item in api.get(path, params={"limit": 500}).json()["items"]]
    seen: list[object] = []
    where: str | None = f"{path}?limit=3"
    while where:
        page = api.get(where)
        seen += [name(item) for item in page.json()["items"]]
        where = page.links["next"]["url"] if "next" in page.links else None
        add(2)
    assert [each for each in seen if each in set(before)] == before
    assert len(set(seen)) == len(seen)


def test_a_cursor_belongs_to_its_question(api: Running) -> None:
    """A cursor of another question, or a made-up one, is a clear 400."""
    cursor = api.get("/v1/servers?limit=2").json()["next"]
    assert api.get(f"/v1/servers?limit=7&after={cursor}").status_code == 200
    for path in (
        f"/v1/servers?country=DE&after={cursor}",
        f"/v1/health?after={cursor}",
        "/v1/servers?after=x",
    ):
        answer = api.get(path)
        assert (answer.status_code, answer.json()["parameter"]) == (400, "after")


@pytest.mark.parametrize(
    "odd", [["nan"] * 4, ["inf"] * 4, ["-inf"] * 4, [1e308] * 4, [2**70] * 4, [0, 0, 0, -1e300], [], {}]
)
def test_a_made_up_place_in_the_ranking_is_a_place_or_told(api: Running, odd: object) -> None:
    """A cursor whose inside somebody made up gives some page or a 400."""
    asked = json.loads(base64.urlsafe_b64decode(api.get("/v1/ranking?limit=1").json()["next"] + "=="))[0]
    inner = base64.urlsafe_b64encode(json.dumps(odd).encode()).decode().rstrip("=")
    word = base64.urlsafe_b64encode(json.dumps([asked, inner]).encode()).decode().rstrip("=")
    answer = api.get("/v1/ranking", params={"limit": 1, "after": word})
    assert answer.status_code in (200, 400), answer.text
