#!/usr/bin/env python3
"""Build the Debian packages for the release and architecture that this runs on, each with its SBOM beside it.

usage: packaging/deb/build.py [--out dist] [--only PACKAGE] [--revision N] [--fast]

The modules come from wheels: our own, built here, and the pinned ones of requirements.lock, checked against
their hashes. Nothing is compiled, neither here nor where a package is installed.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import papers
from attrs import frozen
from libraries import UnknownLibrary, needs
from package import PACKAGES, ROOT, Package
from sbom import cyclonedx
from tree import Layout, lay_out
from wheels import gather

_OK, _FAILED = 0, 1
_PYTHON = "/usr/bin/python3"
_TOOLS = {"dpkg-deb": "dpkg", "objdump": "binutils", _PYTHON: "python3"}


class CannotBuild(Exception):
    """This host lacks something, in words."""


@frozen
class Target:
    """What is built for.

    Attributes:
        architecture: as dpkg names it.
        release: the code name of the distribution.
        suffix: of versions: "deb12", "ubuntu24.04".
        python: "3.11": the system's own.
        epoch: the moment that files and papers bear [s since 1970].
        maintainer: name and address.
        fast: packages are compressed quickly instead of well.
    """

    architecture: str
    release: str
    suffix: str
    python: str
    epoch: int
    maintainer: str
    fast: bool


def main(argv: Sequence[str] | None = None) -> int:
    """Build what is asked; give the exit code."""
    parser = argparse.ArgumentParser(description="Build Sonde's Debian packages, with their SBOMs.")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="FOLDER", help="dist by default")
    parser.add_argument("--only", action="append", choices=[p.name for p in PACKAGES], help="may be repeated")
    parser.add_argument("--revision", type=int, default=1, metavar="N", help="of this version's package")
    parser.add_argument("--fast", action="store_true", help="compress quickly, for tests")
    args = parser.parse_args(argv)
    os.umask(0o022)
    try:
        target = _target(fast=args.fast)
        for package in PACKAGES:
            if args.only is None or package.name in args.only:
                _build(package, target, args.revision, args.out)
    except (CannotBuild, UnknownLibrary) as error:
        sys.stderr.write(f"make deb: {error}\n")
        return _FAILED
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"make deb: {error.cmd[0]} failed with {error.returncode}\n")
        return _FAILED
    return _OK


def _target(*, fast: bool) -> Target:
    lacking = sorted({package for tool, package in _TOOLS.items() if shutil.which(tool) is None})
    if lacking:
        raise CannotBuild(f"install {' '.join(lacking)} first: apt install {' '.join(lacking)}")
    told = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', Path("/etc/os-release").read_text(), re.MULTILINE))
    suffix = {"debian": "deb"}.get(told["ID"], told["ID"]) + told.get("VERSION_ID", "")
    name = os.environ.get("DEBFULLNAME", "Sonde maintainers")
    return Target(
        architecture=_said("dpkg", "--print-architecture"),
        release=told.get("VERSION_CODENAME", "unstable"),
        suffix=suffix,
        python=_said(_PYTHON, "-Ic", "import sys; print('%d.%d' % sys.version_info[:2])"),
        epoch=int(os.environ.get("SOURCE_DATE_EPOCH") or _last_commit()),
        maintainer=f"{name} <{os.environ.get('DEBEMAIL', 'maintainers@sonde.example')}>",
        fast=fast,
    )


def _last_commit() -> str:
    """Give when the sources last changed; without a repository, when the changes were last written down."""
    asked = ["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]
    if shutil.which("git") and (ROOT / ".git").exists():
        return _said(*asked)
    return str(int((ROOT / "CHANGELOG.md").stat().st_mtime))


def _build(package: Package, target: Target, revision: int, out: Path) -> None:
    os.environ["SOURCE_DATE_EPOCH"] = str(target.epoch)  # hatchling and dpkg-deb read it
    wheels = gather(package.wanted, target.python, ROOT / "var" / "deb")
    own = next(wheel for wheel in wheels if wheel.name == package.wanted.split("[")[0])
    if package.beside:
        there = {wheel.name for wheel in gather(package.beside, target.python, ROOT / "var" / "deb")}
        wheels = [wheel for wheel in wheels if wheel.name not in there]
    python = target.python
    upstream = re.sub(r"[.]?(dev|rc|a|b)", r"~\1", own.version)  # "1.0rc1" comes before "1.0"
    version = f"{upstream}+{target.suffix}u{revision}"
    with tempfile.TemporaryDirectory(prefix="sonde-deb-") as scratch:
        tree = Path(scratch, "tree")
        layout = Layout(package, wheels, python=python, tree=tree)
        lay_out(
            layout,
            changelog=papers.changelog(
                package.name, version, target.release, target.maintainer, target.epoch
            ),
            epoch=target.epoch,
        )
        values = {
            "version": version,
            "python": f"python3 (>= {python}~), python3 (<< {_next(python)}~), python{python}",
            "shlibs": needs(tree),
        }
        fields = {
            "Package": package.name,
            "Version": version,
            "Architecture": target.architecture,
            "Maintainer": target.maintainer,
            "Installed-Size": str(_kilobytes(tree)),
            "Priority": "optional",
        }
        text = papers.control(layout.control.read_text(), fields, values)
        layout.finish(text)
        out.mkdir(parents=True, exist_ok=True)
        name = f"{package.name}_{version}_{target.architecture}"
        how = ("-Zgzip", "-z1") if target.fast else ("-Zxz",)
        _said("dpkg-deb", "--root-owner-group", *how, "--build", str(tree), str(out / f"{name}.deb"))
    (out / f"{name}.cdx.json").write_text(cyclonedx(package.name, version, wheels, target.epoch))
    size_mb = (out / f"{name}.deb").stat().st_size / 1e6
    installed_mb = int(fields["Installed-Size"]) / 1000
    sys.stdout.write(f"{out / name}.deb: {size_mb:.1f} MB, {installed_mb:.0f} MB installed\n")


def _kilobytes(tree: Path) -> int:
    """Give Installed-Size as Debian's policy counts it: whole kilobytes, one for what is no file."""
    return sum(
        -(-path.stat().st_size // 1024) if path.is_file() and not path.is_symlink() else 1
        for path in tree.rglob("*")
        if "DEBIAN" not in path.relative_to(tree).parts
    )


def _next(python: str) -> str:
    major, minor = python.split(".")
    return f"{major}.{int(minor) + 1}"


def _said(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
