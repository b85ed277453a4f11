"""The packages as files: what lintian says, what is in them, what stands beside them."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from support.debs import ROOT, build

pytestmark = [
    pytest.mark.root,
    pytest.mark.quiet,
    pytest.mark.xdist_group("packages"),
    pytest.mark.timeout(400),
]

MOST_MB = {"sonde-agent": 50, "sonde-agent-unlock": 50, "sonde-collector": 400}
"""Installed, on amd64; who adds a dependency should notice what it costs on every host."""


def field(deb: Path, name: str) -> str:
    """A field of a package's control file."""
    return subprocess.run(
        ["dpkg-deb", "-f", deb, name], capture_output=True, text=True, check=True
    ).stdout.strip()


def names(deb: Path) -> list[str]:
    """The files of a package."""
    listing = _said("dpkg-deb", "-c", str(deb)).splitlines()
    return [line.split(maxsplit=5)[5].split(" -> ")[0].removeprefix(".") for line in listing]


def _said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("package", ["sonde-agent", "sonde-agent-unlock"])
def test_lintian_finds_nothing(debs: dict[str, Path], package: str) -> None:
    """No error and no warning, besides those overridden with a reason in the package."""
    _lintian(debs[package])


@pytest.mark.soak
def test_lintian_finds_nothing_in_the_collector(debs: dict[str, Path]) -> None:
    """The same for the one that takes it a minute."""
    _lintian(debs["sonde-collector"])


def _lintian(deb: Path) -> None:
    if shutil.which("lintian") is None:
        pytest.skip("needs lintian")
    argv = ["lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", deb]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout


def test_a_package_holds_the_pins_of_its_own_distribution(debs: dict[str, Path]) -> None:
    """The agent brings no numpy, no PostgreSQL client and no web server; none brings pip or a test."""
    agent = [name for name in names(debs["sonde-agent"]) if "site-packages/" in name]
    assert any("/grpc/" in name for name in agent)
    for foreign in (
        "numpy",
        "psycopg",
        "starlette",
        "uvicorn",
        "pyarrow",
        "duckdb",
        "curl_cffi",
        "sonde_collector",
    ):
        assert not [name for name in agent if f"site-packages/{foreign}" in name]
    for deb in debs.values():
        assert not [
            name for name in names(deb) if re.search(r"site-packages/(pip|setuptools|pytest)/|/tests/", name)
        ]


def test_the_collector_brings_alerts_runbooks_and_dashboards(debs: dict[str, Path]) -> None:
    """All of packaging/monitoring is in it, where the alerts say that their runbooks are."""
    folder = ROOT / "packaging" / "monitoring"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    place = "/usr/share/sonde-collector/monitoring/"
    inside = {name.removeprefix(place) for name in names(debs["sonde-collector"]) if name.startswith(place)}
    assert {name for name in inside if name and not name.endswith("/")} == files
    assert f"{place}runbooks.md#" in (folder / "prometheus" / "alerts.yml").read_text()


def test_packages_are_as_small_as_they_say(debs: dict[str, Path]) -> None:
    """Installed-Size stays below a bound."""
    sizes_mb = {name: int(field(deb, "Installed-Size")) / 1000 for name, deb in debs.items()}
    assert {name: size for name, size in sizes_mb.items() if size > MOST_MB[name]} == {}


def test_two_packages_of_one_environment_share_no_file(debs: dict[str, Path]) -> None:
    """What sonde-agent-unlock adds, sonde-agent has not."""
    one, two = (
        {n for n in names(debs[p]) if not n.endswith("/")} for p in ("sonde-agent", "sonde-agent-unlock")
    )
    assert one & two == set()


@pytest.mark.parametrize("package", sorted(MOST_MB))
def test_the_sbom_names_what_is_in_the_package(debs: dict[str, Path], package: str) -> None:
    """Each .dist-info of it is a component: version, licence, and for foreign ones the lock's hash."""
    deb = debs[package]
    sbom = json.loads(deb.with_suffix(".cdx.json").read_text())
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.6")
    assert sbom["metadata"]["component"]["version"] == field(deb, "Version")
    inside = {
        found[1].lower().replace("_", "-"): found[2]
        for name in names(deb)
        if (found := re.search(r"site-packages/([^/]+)-([^/-]+)\.dist-info/METADATA$", name))
    }
    assert {one["name"]: one["version"] for one in sbom["components"]} == inside
    lock = (ROOT / "requirements.lock").read_text()
    for one in sbom["components"]:
        assert one["licenses"][0].get("expression") or one["licenses"][0]["license"]["name"]
        (digest,) = one["hashes"]
        assert one["name"].startswith("sonde-") or f"sha256:{digest['content']}" in lock


def test_the_same_sources_give_the_same_package(debs: dict[str, Path], tmp_path: Path) -> None:
    """Built again elsewhere: byte for byte the same, the SBOM too."""
    (again,) = build(tmp_path, "--only", "sonde-agent").values()
    for suffix in (".deb", ".cdx.json"):
        one, two = (path.with_suffix(suffix).read_bytes() for path in (debs["sonde-agent"], again))
        assert hashlib.sha256(one).digest() == hashlib.sha256(two).digest()


def test_the_manual_names_every_command() -> None:
    """sonde-agent(1) lists what `sonde-agent --help` lists."""
    program = Path(sys.executable).with_name("sonde-agent")
    told = subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout
    commands = set(re.findall(r"^    ([a-z-]+) ", told, re.MULTILINE))
    manual = (ROOT / "packaging/deb/sonde-agent/sonde-agent.1").read_text().split(".SH EXIT")[0]
    assert set(re.findall(r"^\.B ([a-z\\-]+)$", manual.split(".SH COMMANDS")[1], re.MULTILINE)) >= {
        command.replace("-", "\\-") for command in commands
    }


def test_a_package_is_of_its_distributions_version(debs: dict[str, Path]) -> None:
    """Versions follow pyproject.toml, with the release that was built on."""
    for name, deb in debs.items():
        distribution = name.removesuffix("-unlock")
        assert field(deb, "Version").split("+")[0] == metadata.version(distribution)
