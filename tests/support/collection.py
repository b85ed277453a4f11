"""The Ansible collection as files: its plug-ins, roles, playbooks and their tasks."""

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

COLLECTION = Path(__file__).resolve().parents[2] / "ansible"
ROLES = sorted(folder.name for folder in (COLLECTION / "roles").iterdir())
PLAYBOOKS = sorted(file.stem for file in (COLLECTION / "playbooks").glob("*.yml"))
Task = Mapping[str, Any]
Option = Mapping[str, Any]


def plugin(path: str) -> ModuleType:
    """Give one of its plug-ins as a module: "filter/toml"."""
    file = COLLECTION / "plugins" / f"{path}.py"
    spec = importlib.util.spec_from_file_location(f"sonde_fleet_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def files(role: str, *folders: str) -> list[Path]:
    """Give the files of these folders of a role."""
    return sorted(
        f for name in folders for f in (COLLECTION / "roles" / role / name).glob("*") if f.is_file()
    )


def options(role: str) -> dict[str, Option]:
    """Give every variable that a role declares, of all of its entries."""
    specs = yaml.safe_load((COLLECTION / "roles" / role / "meta" / "argument_specs.yml").read_text())
    entries = specs["argument_specs"].values()
    return {name: option for entry in entries for name, option in entry["options"].items()}


def tasks() -> Iterator[tuple[str, Task]]:
    """Give every task, handlers and those in blocks included, with where it stands."""
    places = [file for role in ROLES for file in files(role, "tasks", "handlers")]
    for file in places:
        yield from _below(str(file.relative_to(COLLECTION)), yaml.safe_load(file.read_text()))
    for playbook in PLAYBOOKS:
        for play in yaml.safe_load((COLLECTION / "playbooks" / f"{playbook}.yml").read_text()):
            yield from _below(playbook, play.get("tasks", ()))


def _below(where: str, listed: Any) -> Iterator[tuple[str, Task]]:
    for task in listed:
        yield where, task
        yield from _below(where, task.get("block", ()))
