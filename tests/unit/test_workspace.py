"""The house stays as it was planned: lists that exist twice agree, walls stand, nothing strays in."""

import ast
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from sonde_agent.checks.kinds import KINDS as CHECKS
from sonde_proto import columns
from sonde_proto.v1 import control_pb2, ingest_pb2, results_pb2

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = Path(sysconfig.get_path("scripts"))
MEMBERS = ("proto", "unlock", "agent", "collector", "lab")
DATA = "sonde-rules"
"""The distribution of rules: versioned by its day, apart from the code."""
LONGEST_FILE = 350

# Written in halves, so that this file does not hold them.
PACKAGE_HOSTS = tuple(
    ".".join(parts)
    for parts in (("pypi", "org"), ("python" + "hosted", "org"), ("registry", "npmjs"), ("proxy", "golang"))
)


def tracked() -> list[Path]:
    """Return the files that are, or could be, committed."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone: can't tell the tree's own files from others")
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [path for name in listed.split("\0") if name and (path := ROOT / name).is_file()]


def sources(member: str) -> list[Path]:
    """Return a distribution's Python files, without generated ones."""
    return [path for path in (ROOT / member / "src").rglob("*.py") if "_pb2" not in path.name]


def project(member: str) -> dict[str, object]:
    """Return a distribution's [project] table."""
    table: dict[str, object] = tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]
    return table


def test_generated_code_is_what_the_proto_files_give() -> None:
    """The committed protobuf code is what regenerating it gives."""
    done = subprocess.run(
        [sys.executable, ROOT / "proto" / "gen.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", columns.KINDS)
def test_both_messages_of_a_kind_list_the_same_fields(kind: str) -> None:
    """A kind's columns message has the row message's fields by name and number, and every row's three."""
    row, table = columns.KINDS[kind]
    common = {"seq": 40, "measured_at_us": 41, "target": 42}
    assert {field.name: field.number for field in table.DESCRIPTOR.fields} == {
        field.name: field.number for field in row.DESCRIPTOR.fields
    } | common


def test_the_lists_of_result_kinds_agree() -> None:
    """Result's payloads, Batch's tables and the columns format name the same kinds."""
    payloads = {field.name for field in results_pb2.Result.DESCRIPTOR.oneofs_by_name["payload"].fields}
    tables = {field.name for field in ingest_pb2.Batch.DESCRIPTOR.fields if field.name in payloads}
    assert payloads == tables == set(columns.KINDS)


def test_the_lists_of_checks_agree() -> None:
    """What a task can ask for is what the agent has a check for."""
    specs = {field.name for field in control_pb2.Task.DESCRIPTOR.oneofs_by_name["spec"].fields}
    assert specs == set(CHECKS)


def test_no_file_is_too_long() -> None:
    """Every file that a person wrote stays one idea: at most 350 lines."""
    written = [
        path
        for path in tracked()
        if path.suffix in {".py", ".sh", ".sql", ".c"}
        and "_pb2" not in path.name
        and "migrations" not in path.parts
    ]
    long = {
        str(path.relative_to(ROOT)): lines
        for path in written
        if (lines := len(path.read_text().splitlines())) > LONGEST_FILE
    }
    assert not long


def test_no_address_of_a_package_host_is_in_the_tree() -> None:
    """No file names a package registry's or file host's address, nor a path into one."""
    found = [
        f"{path.relative_to(ROOT)}: {host}"
        for path in tracked()
        for host in PACKAGE_HOSTS
        if host.encode() in path.read_bytes()
    ]
    assert not found


def test_the_lock_is_hashes_without_addresses() -> None:
    """Every line of requirements.lock is a pin or a hash."""
    pin = re.compile(r"[a-z0-9._-]+==\S+ \\|    --hash=sha256:[0-9a-f]{64}( \\)?")
    odd = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not pin.fullmatch(line)]
    assert not odd


@pytest.mark.parametrize("member", MEMBERS)
def test_a_distribution_declares_what_it_imports(member: str) -> None:
    """Each distribution's pyproject.toml names every package that its code imports."""
    table = project(member)
    extras = table.get("optional-dependencies", {})
    lines = [*table["dependencies"], *(line for extra in extras.values() for line in extra)]  # type: ignore[misc,attr-defined]
    declared = {re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower().replace("_", "-") for line in lines}
    providers = metadata.packages_distributions()
    providers |= {f"sonde_{other}": [f"sonde-{other}"] for other in (*MEMBERS, "rules")}
    undeclared = {
        f"{module} ({path.relative_to(ROOT)})"
        for path in sources(member)
        for module in imported(path)
        if module not in sys.stdlib_module_names
        and module != f"sonde_{member}"
        and not (path.parent / f"{module}.py").exists()  # a script beside it
        and not declared & {name.lower().replace("_", "-") for name in providers.get(module, [module])}
    }
    assert not undeclared


def imported(path: Path) -> set[str]:
    """Return the top-level names of the modules that a file imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_distributions_are_one_version() -> None:
    """The distributions carry one version and ask for exactly each other's; rules have their own."""
    versions = {project(member)["version"] for member in MEMBERS}
    assert len(versions) == 1
    (version,) = versions
    for member in MEMBERS:
        for line in project(member)["dependencies"]:  # type: ignore[attr-defined]
            ours = line.startswith("sonde-") and not line.startswith(DATA)
            assert not ours or line.endswith(f"=={version}"), line


def test_the_walls_stand() -> None:
    """No import crosses a wall of pyproject.toml's import-linter contracts."""
    done = subprocess.run(
        [SCRIPTS / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_net_opens_sockets() -> None:
    """In the agent a socket is made in the rooms `net` and `tunnel`, and by what tries or serves the host."""
    allowed = {"net", "tunnel", "notify.py", "metrics.py", "doctor.py"}
    makers = re.compile(r"\bsocket\.(socket|create_connection|create_server)\(|asyncio\.open_connection\(")
    room = ROOT / "agent" / "src" / "sonde_agent"
    strays = [
        str(path.relative_to(room))
        for path in sources("agent")
        if makers.search(path.read_text()) and not allowed & set(path.relative_to(room).parts)
    ]
    assert not strays


def test_only_the_database_room_holds_sql() -> None:
    """In the collector, statements live in sql/ and in the room `db`."""
    statement = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|CREATE TABLE|ALTER TABLE) +[a-z_.*(]+")
    room = ROOT / "collector" / "src" / "sonde_collector"
    strays = []
    for path in sources("collector"):
        if "db" in path.relative_to(room).parts:
            continue
        tree = ast.parse(path.read_text())
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
        prose = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
        }
        strays += [
            f"{path.relative_to(room)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in prose
            and statement.search(node.value)
            and not re.search(r"sonde-collector (sql|query)\b", node.value)  # an example in a help text
        ]
    assert not strays
