"""/metrics/targets: what Prometheus reads of every server and target, and what is left out of it."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.api import Running, roll_up, seed, seeded, serving
from support.postgres import Server

pytestmark = pytest.mark.postgres
Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture(scope="module")
def api(postgres_server: Server) -> Iterator[Running]:
    """Give a serving collector with a small fleet."""
    with seeded(postgres_server, "api_metrics") as url, serving(url) as running:
        yield running


def scrape(api: Running, **asked: Any) -> Series:
    """Read all series as Prometheus' own parser does; none comes twice."""
    answer = api.get("/metrics/targets", params=asked)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found: Series = {}
    for family in text_string_to_metric_families(answer.text):
        assert family.documentation
        for sample in family.samples:
            series = sample.name, tuple(sorted(sample.labels.items()))
            assert series not in found
            found[series] = sample.value
    return found


def value(series: Series, name: str, **labels: str) -> float:
    """Give the one series of that name which has these labels."""
    (found,) = (
        number
        for (its, pairs), number in series.items()
        if its == name and labels.items() <= dict(pairs).items()
    )
    return found


def test_last_values(api: Running) -> None:
    """Each server and target shows its last values by vantage, in base units, and nothing else."""
    series = scrape(api)
    tunnel = {"server": "s3", "vantage": "ams1", "protocol": "WireGuard", "family": "4", "country": "NL"}
    assert value(series, "sonde_server_rtt_seconds", **tunnel) == pytest.approx(0.014)
    assert value(series, "sonde_server_download_bits_per_second", **tunnel) == 103e6
    assert value(series, "sonde_server_connection_seconds", **tunnel) == pytest.approx(0.04)
    assert value(series, "sonde_server_up", **tunnel) == 1
    assert value(series, "sonde_server_up", **{**tunnel, "protocol": "direct"}) == 0
    assert value(series, "sonde_server_loss_ratio", **{**tunnel, "protocol": "direct"}) == 0
    assert 0 < value(series, "sonde_server_age_seconds", **tunnel) < 86_400
    assert not [name for name, _ in series if "upload" in name]
    assert value(series, "sonde_target_up", target="origin", vantage="sin1") == 0
    assert value(series, "sonde_target_status_code", target="origin", vantage="ams1") == 200
    assert value(series, "sonde_target_total_seconds", target="origin", vantage="ams1") == pytest.approx(0.03)
    states = [value(series, "sonde_server_health", server=server) for server in ("s1", "s2")]
    assert (*states, value(series, "sonde_target_health", target="origin")) == (2, 0, 1)
    assert value(series, "sonde_targets_series_total") == len(series) - 2
    assert value(series, "sonde_targets_series_dropped") == 0


def test_last_unlock_checks(api: Running) -> None:
    """Each server, platform, family and protocol shows the age of its newest check and what it says."""
    series = scrape(api, server="s3")
    cell = {"server": "s3", "platform": "netflix", "family": "4", "country": "NL"}
    # Of s3 and netflix the newest by WireGuard is 2 hours old (n = 2), by OpenVPN-UDP 1 hour (n = 1).
    two, one = ({**cell, "protocol": name} for name in ("WireGuard", "OpenVPN-UDP"))
    assert value(series, "sonde_unlock_info", verdict="inconclusive", region="NL", vantage="sin1", **two) == 1
    assert value(series, "sonde_unlock_info", verdict="blocked", via="native", rule_version="1", **one) == 1
    assert value(series, "sonde_unlock_open", **one) == 0
    told = [dict(pairs)["protocol"] for name, pairs in series if name == "sonde_unlock_open"]
    assert set(told) == {"OpenVPN-UDP"}
    assert value(series, "sonde_unlock_age_seconds", **two) == pytest.approx(7200, abs=600)
    of_others = {"server": "s1", "platform": "netflix", "protocol": "", "family": ""}
    assert value(scrape(api, server="s1"), "sonde_unlock_open", **of_others) == 1


def test_filters(api: Running) -> None:
    """Globs narrow it; who names servers alone gets no targets, and the reverse; LIKE's signs are letters."""

    def of(**asked: Any) -> set[tuple[str, str]]:
        pairs = (dict(pairs) for _, pairs in scrape(api, **asked))
        return {(each.get("server", each.get("target", "")), each.get("vantage", "")) for each in pairs} - {
            ("", "")
        }

    assert {server for server, _ in of(server="s1*")} == {"s1", "s10", "s11"}
    assert {server for server, _ in of(server="s?")} == {f"s{n}" for n in range(1, 10)}
    assert of(target="orig*", vantage="nyc1") == {("origin", ""), ("origin", "nyc1")}
    assert {vantage for _, vantage in of(vantage="*1")} == {"", "ams1", "nyc1", "sin1"}
    for nothing in ("s%", "s_", "\\", "s1' OR 'x'='x"):
        assert of(server=nothing) == set()
    assert of(server="s1", max_age_s=1) == {("s1", "")}


@pytest.mark.parametrize("most", [0, 1, 2, 3, 50, 133, 100_000])
def test_the_cap_is_kept_told_and_the_same_each_time(api: Running, most: int) -> None:
    """Past the cap series are left out, always the same ones, and how many is told."""
    whole = scrape(api)
    with serving(api.url, metrics_series=most) as capped:
        first, second = scrape(capped), scrape(capped)
    kept = {series for series in first if not series[0].startswith("sonde_targets_series")}
    assert kept == {series for series in second if not series[0].startswith("sonde_targets_series")}
    total = value(whole, "sonde_targets_series_total")
    assert len(kept) == min(most, total)
    assert kept <= set(whole)
    assert value(first, "sonde_targets_series_total") == total
    assert value(first, "sonde_targets_series_dropped") == total - len(kept)


def test_labels_of_any_kind_are_escaped(api: Running) -> None:
    """Quotes, backslashes, newlines and any Unicode in a name come back as they are."""
    odd = ['a"b', "a\\b", "a\nb", "\N{PILE OF POO}", "a{b}=,", "\\n"]
    for n, name in enumerate(odd):
        api.execute("UPDATE servers SET hostname = %s, is_active = true WHERE id = 12", f"{name}{n}")
        api.execute(
            "INSERT INTO sonde.latest (server_id, probe_id, protocol_id, family, measured_at, ping_ms, "
            "ping_at) VALUES (12, 1, 0, 0, now(), 1, now()) ON CONFLICT DO NOTHING"
        )
        assert value(scrape(api), "sonde_server_rtt_seconds", server=f"{name}{n}") == pytest.approx(0.001)
    api.execute("DELETE FROM sonde.latest WHERE server_id = 12")
    api.execute("UPDATE servers SET hostname = 'h12.example', is_active = false WHERE id = 12")


def test_the_newest_check_is_the_newest_whatever_the_order(database_url: str) -> None:
    """The newest check of each target is that of the raw rows, however late they came."""
    seed(database_url)
    rng = random.Random(7)
    newest = """
        SELECT DISTINCT ON (target_id, probe_id) target_id, probe_id, measured_at, ok, total_ms
        FROM sonde.endpoint_checks
        ORDER BY target_id, probe_id, measured_at DESC, ok, stream_id DESC, seq DESC"""
    kept = "SELECT target_id, probe_id, measured_at, ok, total_ms FROM sonde.endpoint_latest ORDER BY 1, 2"
    with serving(database_url) as api, api.connect() as conn:
        assert conn.execute(kept).fetchall() == conn.execute(newest).fetchall()
        for seq in range(100, 160):
            age = rng.choice((0, 5, 61, 3600, 7200, 86_000)) + rng.random()
            conn.execute(
                "INSERT INTO sonde.endpoint_checks (target_id, probe_id, measured_at, stream_id, seq, kind, "
                "ok, total_ms) VALUES (%s, %s, now() - %s * interval '1 second', 1, %s, 'http', %s, %s)",
                (rng.randint(1, 2), rng.randint(1, 3), age, seq, rng.random() < 0.5, rng.random()),
            )
            conn.execute(
                "INSERT INTO sonde.dirty_marks (series, hour, probe_id) SELECT DISTINCT 'endpoint', "
                "date_trunc('hour', measured_at, 'UTC'), probe_id FROM sonde.endpoint_checks WHERE seq = %s",
                (seq,),
            )
            if rng.random() < 0.3:
                roll_up(conn)
                assert conn.execute(kept).fetchall() == conn.execute(newest).fetchall()
        roll_up(conn)
        assert conn.execute(kept).fetchall() == conn.execute(newest).fetchall()
