"""Alerts, runbooks and dashboards as files: they fit together, and a person finds their way."""

import contextlib
import itertools
import re
import shlex
from typing import Any

import pytest
import yaml
from support.grafana import BOARDS, FOLDER, board, panels, targets

from sonde_agent import cli as agent
from sonde_collector import cli as collector

ROOT = FOLDER.parents[1]
RULES = yaml.safe_load((FOLDER / "prometheus" / "alerts.yml").read_text())
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]
}
RUNBOOKS = dict(
    part.split("\n", 1) for part in (FOLDER / "runbooks.md").read_text().split("\n## ")[1:]
)  # fmt: skip
HOSTS = {"collector$", "agent$"}
PARTS = ("Symptom", "It means", "Mend", "Don't worry")
COMMANDS = sorted(
    {line for text in RUNBOOKS.values() for line in re.findall(r"^\w+\$ .*$", text, re.MULTILINE)}
)
SYSTEM = {"systemctl": {"status", "restart", "list-timers"}, "timedatectl": {"timesync-status"}}


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    """In the same order; an alert says how grave it is and where to read on."""
    assert list(RUNBOOKS) == list(ALERTS)
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"].endswith(f"monitoring/runbooks.md#{name.lower()}")


@pytest.mark.parametrize("name", RUNBOOKS)
def test_a_runbook_is_short(name: str) -> None:
    """Symptom, meaning, three commands, how to mend it, when it is nothing: twelve lines at most."""
    lines = [line for line in RUNBOOKS[name].splitlines() if line]
    assert len(lines) <= 12
    assert tuple(found[1] for line in lines if (found := re.match(r"\*\*(.+?)\*\*: \S", line))) == PARTS
    assert sum(line.split()[0] in HOSTS for line in lines) == 3


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_a_runbook_is_one(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Our programs take it as it stands; systemctl gets units that we ship."""
    host, program, *arguments = shlex.split(line)
    assert host in HOSTS
    if program in {"sonde-collector", "sonde-agent"}:
        assert program == f"sonde-{host[:-1]}"
        parser = (
            collector.parser() if host == "collector$" else agent._parser(wants_check="check" in arguments)
        )
        ended = 0
        with contextlib.suppress(SystemExit):
            ended = 2
            parser.parse_args(arguments)
            ended = 0
        # --help and --version end the program too, with nothing to complain of.
        assert ended == 0 or not capsys.readouterr().err
    elif program in SYSTEM:
        assert arguments[0] in SYSTEM[program]
        assert all((ROOT / "systemd" / f"{unit}.service").exists() for unit in arguments[1:])
    elif program == "journalctl":
        assert (ROOT / "systemd" / f"{arguments[arguments.index('-u') + 1]}.service").exists()
    else:
        assert program in {"curl", "df", "du"}


def test_what_a_runbook_mends_with_is_a_command_too(capsys: pytest.CaptureFixture[str]) -> None:
    """Commands within its sentences exist: `notify test`, `agents token` and the like."""
    known = {"sonde-collector", "sonde-agent"}
    for text in RUNBOOKS.values():
        for words in re.findall(r"`(sonde-(?:collector|agent) [a-z -]+?)[`A-Z]", text):
            program, *rest = shlex.split(words)
            assert program in known
            parser = collector.parser() if program == "sonde-collector" else agent._parser(wants_check=False)
            with pytest.raises(SystemExit) as ended:
                parser.parse_args([*rest, "--help"])
            assert ended.value.code == 0, capsys.readouterr().err


def test_each_alert_is_tried() -> None:
    """The files of promtool know every alert, and no other."""
    tried = {
        case["name"].split(",")[0]
        for file in (ROOT / "tests" / "golden" / "alerts").glob("*.yml")
        for case in yaml.safe_load(file.read_text())["tests"]
    }
    assert tried == set(ALERTS)


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_can_be_imported(name: str) -> None:
    """Ids and letters are unique, the data source is a variable, and nothing of one Grafana is in it."""
    found = board(name)
    assert (found["id"], found["uid"]) == (None, f"sonde-{name}")
    assert found["schemaVersion"] >= 38
    ids = [panel["id"] for panel in found["panels"]]
    assert len(set(ids)) == len(ids)
    kinds = {panel["type"] for panel in panels(found)}
    assert {part["id"] for part in found["__requires"] if part["type"] == "panel"} == kinds
    source = {"type": found["templating"]["list"][0]["query"], "uid": "${datasource}"}
    assert found["templating"]["list"][0]["type"] == "datasource"
    for variable in found["templating"]["list"][1:]:
        assert variable["datasource"] == source
        assert (variable["multi"], variable["includeAll"]) == (True, True)
    for panel in panels(found):
        assert panel["datasource"] == source
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters) > 0
    assert all(target["datasource"] == source for _, target in targets(found))


@pytest.mark.parametrize("name", BOARDS)
def test_a_panel_says_what_it_shows(name: str) -> None:
    """Each has a title of its own, a description and a unit."""
    titles = [panel["title"] for panel in panels(board(name))]
    assert len(set(titles)) == len(titles)
    for panel in panels(board(name)):
        assert len(panel["description"]) > 5, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


@pytest.mark.parametrize("name", BOARDS)
def test_panels_do_not_overlap(name: str) -> None:
    """Each cell of the grid belongs to one panel, and all are within its 24 columns."""
    taken: dict[tuple[int, int], str] = {}
    for panel in board(name)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x, y in itertools.product(range(place["w"]), range(place["h"])):
            cell = place["x"] + x, place["y"] + y
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            taken[cell] = panel["title"]


def test_the_package_holds_every_file() -> None:
    """What lies in packaging/monitoring is named for the collector's package."""
    named = (ROOT / "packaging" / "deb" / "package.py").read_text()
    for path in FOLDER.rglob("*"):
        assert path.is_dir() or f'    "{path.relative_to(FOLDER)}",\n' in named
