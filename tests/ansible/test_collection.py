"""The collection as its users and ansible-galaxy see it."""

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.collection import COLLECTION, PLAYBOOKS, ROLES, files, options, tasks

BIN = Path(sys.executable).parent
KEYWORDS = {
    *("name", "when", "vars", "register", "notify", "loop", "loop_control", "no_log", "become", "tags"),
    *("block", "check_mode", "changed_when", "failed_when", "until", "retries", "delay", "delegate_to"),
    *("run_once", "environment"),
}
SECRET = re.compile(
    r"item\.value\.(password|username|profiles)|\.token\b|_secrets\b|_ca_key }}|agents, token|slurp"
)


def test_every_task_has_a_name_and_a_module_that_is_builtin_or_ours() -> None:
    """No other collection has to be installed."""
    for where, task in tasks():
        assert task.get("name"), f"{where}: {task}"
        modules = task.keys() - KEYWORDS
        assert len(modules) == (0 if "block" in task else 1), f"{where}: {task['name']}: {modules}"
        assert all(re.match(r"(ansible\.builtin|sonde\.fleet)\.", name) for name in modules), (
            f"{where}: {modules}"
        )


def test_no_task_shows_a_secret() -> None:
    """What takes a secret, or makes one, has no_log."""
    seen = 0
    for where, task in tasks():
        text = json.dumps({key: value for key, value in task.items() if key not in ("name", "block", "when")})
        if SECRET.search(text) or "sonde.fleet.folder" in task:
            seen += 1
            assert task.get("no_log") is True, f"{where}: {task['name']}"
    assert seen > 5


@pytest.mark.parametrize("role", ROLES)
def test_each_variable_is_declared_and_its_default_is_the_declared_one(role: str) -> None:
    """argument_specs.yml is the contract: with type and description, and no other variable is used."""
    declared = options(role)
    defaults = yaml.safe_load((COLLECTION / "roles" / role / "defaults" / "main.yml").read_text())
    for name, option in declared.items():
        assert option["type"], name
        assert len(option["description"]) > 10, name
        assert option.get("required", False) == (name not in defaults), name
        assert option.get("default") == defaults.get(name), name
    assert defaults.keys() <= declared.keys()
    used = {
        name
        for file in files(role, "tasks", "handlers", "templates", "vars")
        for name in re.findall(rf"\bsonde_{role}_(?!_)\w+", file.read_text())
    }
    tags = {f"sonde_{role}_{file.stem}" for file in files(role, "tasks")}
    assert used - tags <= declared.keys()


def test_the_example_inventory_uses_declared_variables() -> None:
    """Whoever copies it sets nothing that nobody reads."""
    declared = {name for role in ROLES for name in options(role)}
    told = run("ansible-inventory", "-i", str(COLLECTION / "inventory/example"), "--list")
    hosts: dict[str, Any] = json.loads(told)["_meta"]["hostvars"]
    assert len(hosts) == 3
    assert {name for each in hosts.values() for name in each if name.startswith("sonde_")} <= declared
    commented = "".join(file.read_text() for file in (COLLECTION / "inventory").rglob("*.yml"))
    assert set(re.findall(r"^#? ?(sonde_\w+):", commented, re.MULTILINE)) <= declared | {
        "sonde_agents",
        "sonde_collectors",
    }


def test_it_has_the_version_of_what_it_installs() -> None:
    """Collection and distributions are released together."""
    galaxy = yaml.safe_load((COLLECTION / "galaxy.yml").read_text())
    assert galaxy["version"] == metadata.version("sonde-agent")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where ansible-galaxy has installed the collection that it built."""
    folder = tmp_path_factory.mktemp("collection")
    run("ansible-galaxy", "collection", "build", str(COLLECTION), "--output-path", str(folder))
    (archive,) = folder.glob("sonde-fleet-*.tar.gz")
    run("ansible-galaxy", "collection", "install", str(archive), "-p", str(folder), "--offline")
    return folder


@pytest.mark.parametrize("playbook", PLAYBOOKS)
def test_the_playbooks_of_the_built_collection_are_found_and_right(playbook: str, installed: Path) -> None:
    """By the names that the README has."""
    inventory = str(COLLECTION / "inventory/example")
    run("ansible-playbook", "--syntax-check", "-i", inventory, f"sonde.fleet.{playbook}", where=installed)


def run(program: str, *argv: str, where: Path | None = None) -> str:
    """Run one of Ansible's programs, which must succeed; give what it printed."""
    environment = os.environ | ({"ANSIBLE_COLLECTIONS_PATH": str(where)} if where else {})
    done = subprocess.run(
        [BIN / program, *argv], capture_output=True, text=True, check=False, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
