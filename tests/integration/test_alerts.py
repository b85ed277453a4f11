"""Alerts and the Prometheus dashboard on a real Prometheus that reads a real collector with a real agent."""

import datetime as dt
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from support.grafana import FOLDER, board, expand_promql, targets
from support.identity import Enrolled, House
from support.postgres import Server
from support.programs import Program, eventually, free_port

from sonde_collector.access import keys

CASES = sorted((Path(__file__).parents[1] / "golden" / "alerts").glob("*.yml"))
RULES = FOLDER / "prometheus" / "alerts.yml"
pytestmark = [
    pytest.mark.postgres,
    pytest.mark.xdist_group("prometheus"),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's prometheus"),
]
SILENT_S = 33  # an agent speaks every half minute
_NAME = re.compile(r"\b(?:sonde_\w+|up|process_\w+)(?:\{[^}]*\})?")
_BY = re.compile(r"\b(?:by|on) \(([^)]+)\)")
_LABELS_OF_ALL = {"instance", "job"}


def promtool(*arguments: str | Path) -> None:
    """Runs promtool, which must find nothing wrong."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_rules() -> None:
    """They are read by promtool, templates of annotations too, and has nothing to remark."""
    promtool("check", "rules", "--lint-fatal", RULES)


@pytest.mark.parametrize("case", CASES, ids=lambda path: str(path.stem))
def test_each_alert_fires_when_it_should_and_only_then(case: Path) -> None:
    """Series in, alerts out: before its time, for what is well, and for the second collector none."""
    promtool("test", "rules", case)


@dataclass
class Watched:
    """A fleet, and the Prometheus that watches it by our own example of a configuration."""

    house: House
    agent: Enrolled
    prometheus: Program
    base: str

    def get(self, path: str, **asked: str) -> Any:
        """What Prometheus' API answers."""
        url = f"{self.base}/api/v1/{path}?{urllib.parse.urlencode(asked)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it is starting
                raise
            raise AssertionError(f"{asked}: {error.read().decode()}") from None

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The result of an expression now."""
        found: list[dict[str, Any]] = self.get("query", query=expression)["result"]
        return found

    def targets_up(self) -> int:
        """How many of the targets were read well."""
        try:
            return len(self.ask("up == 1"))
        except OSError:
            return 0


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, postgres_server: Server) -> Iterator[Watched]:
    """A collector by TLS, an enrolled agent, and Prometheus with a key of its own, which has read both."""
    folder = tmp_path_factory.mktemp("watched")
    with House(folder, postgres_server) as house:
        collector = house.collectors[0]
        inventory = folder / "fleet.toml"
        inventory.write_text(inventory.read_text() + _TLS_TARGET.format(port=collector.http))
        collector.command("apply", str(inventory))
        with psycopg.connect(house.url, autocommit=True) as conn:
            key = keys.add(conn, "prometheus", rate_per_minute=10_000, expires_s=None)
            assert key is not None
            (folder / "sonde.key").write_text(key["token"])
            # `backup` is for embedded databases, and writes this row.
            conn.execute("INSERT INTO sonde.backups (made_at, place, bytes) VALUES (now(), '/backup', 1)")
        port = _start(house, "ams1")
        listen = f"127.0.0.1:{free_port()}"
        (folder / "prometheus.yml").write_text(_config(folder, collector.http, port))
        program = Program(
            "prometheus", f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address={listen}",
            log=folder / "prometheus.log",
        )  # fmt: skip
        promtool("check", "config", folder / "prometheus.yml")
        program.start()
        try:
            found = Watched(house, house.agents[0], program, f"http://{listen}")
            eventually(lambda: found.targets_up() == 3, 30, program.tail)
            lived = 'sonde_vantage_lag_seconds{vantage="ams1"} and on () sonde_server_up'
            certificate = "sonde_target_certificate_expiry_timestamp_seconds"
            settled = f"count_over_time(up[1m]) > 4 and on () ({lived}) and on () {certificate}"
            eventually(lambda: len(found.ask(settled)) == 3, 60, program.tail)
            yield found
        finally:
            program.kill()


_TLS_TARGET = """
[[target]]
key = "ourselves"
kind = "tls"
host = "127.0.0.1"
port = {port}
expect = {{ insecure = true }}
"""


def _start(house: House, vantage: str) -> int:
    """Starts an enrolled agent with metrics; gives their port."""
    agent, port = house.enrolled(vantage), free_port()
    agent.config.write_text(agent.config.read_text().replace('metrics = ""', f'metrics = "127.0.0.1:{port}"'))
    agent.program.start()
    return port


def _config(folder: Path, collector: int, agent: int) -> str:
    """Our example, with the places of this fleet, read every second; one alert waits no five minutes."""
    config = yaml.safe_load((FOLDER / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        port = agent if job["job_name"] == "sonde-agent" else collector
        job["static_configs"][0]["targets"] = [f"127.0.0.1:{port}"]
        if "tls_config" in job:
            job["tls_config"]["ca_file"] = str(folder / "pki" / "ca.pem")
            job["authorization"]["credentials_file"] = str(folder / "sonde.key")
    rules = yaml.safe_load(RULES.read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if rule["alert"] == "SondeAgentSilent":
            rule["expr"] = rule["expr"].replace("> 300", f"> {SILENT_S}")
            rule["for"] = "1s"
    (folder / "alerts.yml").write_text(yaml.safe_dump(rules))
    return yaml.safe_dump(config)


@cache
def _alerts() -> dict[str, str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def _selectors(expression: str) -> list[str]:
    """The series that an expression selects. `by (state)` and the like are no selectors."""
    return _NAME.findall(_BY.sub("", expression))


def _labels(watched: Watched, selector: str) -> set[str]:
    """The labels of what a selector selects, which must be something."""
    end = dt.datetime.now(dt.UTC)
    asked = {
        "match[]": selector,
        "start": f"{(end - dt.timedelta(minutes=5)).timestamp()}",
        "end": f"{end.timestamp()}",
    }
    found = watched.get("series", **asked)
    assert found, f"nothing tells {selector}"
    return {name for series in found for name in series}


def _check(watched: Watched, expression: str) -> None:
    """Every selector finds series, and labels that are grouped by are theirs."""
    labels = set.union(*(_labels(watched, selector) for selector in _selectors(expression)))
    grouped = {name.strip() for found in _BY.findall(expression) for name in found.split(",")}
    assert grouped - {"le"} <= labels, expression


def test_a_dead_agent_is_told_and_every_expression_finds_its_series(watched: Watched) -> None:
    """Killed, it is silent; meanwhile each alert and each panel is asked of this Prometheus."""
    boards = [(panel["title"], target["expr"]) for panel, target in targets(board("prometheus"))]
    values = {"instance": ".*", "vantage": ".*"}
    for title, text in boards:
        expression = expand_promql(text, interval_s=1, values=values)
        _check(watched, expression)
        assert watched.ask(expression), f"{title}: {expression}"
    firing = {
        alert["labels"]["alertname"]
        for alert in watched.get("alerts")["alerts"]
        if alert["state"] == "firing"
    }
    assert "SondeAgentSilent" not in firing
    watched.agent.program.kill()
    for expression in _alerts().values():
        _check(watched, expression)
        watched.ask(expression)
    told = eventually(lambda: _firing(watched, "SondeAgentSilent"), SILENT_S + 20, watched.prometheus.tail)
    assert [alert["labels"]["vantage"] for alert in told] == ["ams1"]
    assert "ams1" in told[0]["annotations"]["summary"]
    assert re.search(r"For 3\d[.\d]*s\.", told[0]["annotations"]["description"])


def _firing(watched: Watched, name: str) -> list[dict[str, Any]]:
    alerts = watched.get("alerts")["alerts"]
    return [alert for alert in alerts if alert["labels"]["alertname"] == name and alert["state"] == "firing"]


def test_variables_of_the_dashboard_find_something(watched: Watched) -> None:
    """label_values(metric, label) has values."""
    for variable in board("prometheus")["templating"]["list"][1:]:
        found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
        assert found is not None
        assert found[2] in _labels(watched, found[1])


def test_statements_of_the_runbooks_can_be_run(watched: Watched) -> None:
    """PostgreSQL takes each, in a transaction that may only read."""
    text = (FOLDER / "runbooks.md").read_text()
    statements = re.findall(r'sonde-collector sql "(.*)"$', text, re.MULTILINE)
    assert len(statements) > 4
    with psycopg.connect(watched.house.url) as conn:
        conn.read_only = True
        for statement in statements:
            conn.execute(statement.encode())
