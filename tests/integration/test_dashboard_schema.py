"""Dashboards against Grafana's own schema: the types of @grafana/schema, by the TypeScript compiler."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from support.grafana import BOARDS, Board, board, panels

HERE = Path(__file__).parents[1] / "grafana"
pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed"),
]
_KINDS = {"bargauge": "BarGauge", "stat": "Stat", "table": "Table", "timeseries": "TimeSeries"}
_WRONG = {
    "schemaVersion": "39",
    "panels": [{"id": 1, "type": "stat", "options": {"colorMod": "value"}, "fieldConfig": {"defaults": {}}}],
    "no_such_key": 1,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A TypeScript project with the schema; its packages are those of package.json."""
    folder = tmp_path_factory.mktemp("schema")
    shutil.copytree(HERE, folder, dirs_exist_ok=True)
    install = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"npm can't have the packages of grafana/package.json: {done.stderr.strip()[-300:]}")
    return folder


def test_grafana_would_know_every_key(project: Path) -> None:
    """Dashboards, and of each panel its options and fields; of what is wrong all is noticed."""
    for name in BOARDS:
        (project / f"{name}.ts").write_text(_typed(board(name)))
    for place, (key, value) in enumerate(_WRONG.items()):
        wrong = {**board("prometheus"), key: value}
        (project / f"wrong{place}.ts").write_text(_typed(wrong))
    said = subprocess.run(
        ["npm", "run", "-s", "build"], cwd=project, capture_output=True, text=True, check=False
    ).stdout
    files = {line.partition("(")[0] for line in said.splitlines() if line[0] != " "}
    assert files == {f"wrong{place}.ts" for place in range(len(_WRONG))}, said


_HEAD = 'import type { Dashboard } from "@grafana/schema";\nimport type { Json } from "./json.js";\n'


def _typed(of: Board) -> str:
    """The dashboard as TypeScript. `__requires` is for the import alone and in no schema."""
    text = _HEAD
    for kind, name in _KINDS.items():
        place = f"@grafana/schema/dist/esm/raw/composable/{kind}/panelcfg/x/{name}PanelCfg_types.gen"
        text += f'import type * as {kind} from "{place}";\n'
    known = {key: value for key, value in of.items() if key != "__requires"}
    text += f"export const dashboard: Json<Dashboard> = {json.dumps(known)};\n"
    for panel in panels(of):
        kind, number = panel["type"], panel["id"]
        text += (
            f"export const options{number}: Json<Partial<{kind}.Options>> = {json.dumps(panel['options'])};\n"
        )
        if custom := panel["fieldConfig"]["defaults"].get("custom"):
            text += f"export const field{number}: Json<Partial<{kind}.FieldConfig>> = {json.dumps(custom)};\n"
    return text
