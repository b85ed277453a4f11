"""The tree of files that becomes a package."""

import fnmatch
import gzip
import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

import papers
from attrs import frozen
from package import HERE, LEFT_OUT, ROOT, Package
from wheels import Wheel, unpack

_SCRIPTS = ("preinst", "postinst", "prerm", "postrm")
_PROGRAM = """\
#!/bin/sh
exec /usr/lib/{home}/bin/python -I -m {module}.entry "$@"
"""
_ENVIRONMENT = """\
home = /usr/bin
include-system-site-packages = false
version = {python}
"""


@frozen
class Layout:
    """Where everything of one package goes.

    Attributes:
        package: which.
        wheels: what lies in its environment.
        python: "3.11".
        tree: the root of its files.
    """

    package: Package
    wheels: Sequence[Wheel]
    python: str
    tree: Path

    @property
    def control(self) -> Path:
        """The package's own part of its control file."""
        return HERE / self.package.name / "control"

    @property
    def home(self) -> Path:
        """The environment."""
        return self.tree / "usr" / "lib" / self.package.home

    @property
    def site(self) -> Path:
        """Its modules."""
        return self.home / "lib" / f"python{self.python}" / "site-packages"

    @property
    def doc(self) -> Path:
        """The papers."""
        return self.tree / "usr" / "share" / "doc" / self.package.name

    def finish(self, control: str) -> None:
        """Write what dpkg reads: control file, scripts, checksums."""
        debian = self.tree / "DEBIAN"
        debian.mkdir()
        (debian / "control").write_text(control)
        for name in _SCRIPTS:
            if (script := HERE / self.package.name / name).exists():
                shutil.copyfile(script, debian / name)
                (debian / name).chmod(0o755)
        files = [
            f
            for f in sorted(self.tree.rglob("*"))
            if f.is_file() and not f.is_symlink() and debian not in f.parents
        ]
        sums = [f"{hashlib.md5(f.read_bytes()).hexdigest()}  {f.relative_to(self.tree)}\n" for f in files]  # noqa: S324 -- dpkg's format
        (debian / "md5sums").write_text("".join(sums))


def lay_out(layout: Layout, *, changelog: str, epoch: int) -> None:
    """Make the tree, but for what dpkg reads."""
    package = layout.package
    layout.site.mkdir(parents=True)
    for wheel in layout.wheels:
        unpack(wheel, layout.site)
    for file in sorted(layout.site.rglob("*")):
        name = str(file.relative_to(layout.site))
        if file.is_file() and any(fnmatch.fnmatch(name, pattern) for pattern in LEFT_OUT):
            file.unlink()
    _remove_empty(layout.site)
    if not package.beside:
        (layout.home / "bin").mkdir()
        (layout.home / "bin" / "python").symlink_to(f"../../../bin/python{layout.python}")
        (layout.home / "pyvenv.cfg").write_text(_ENVIRONMENT.format(python=layout.python))
    if package.program:
        _add_program(layout, epoch)
    for source, place in package.files:
        target = layout.tree / place.replace("@units@", "lib/systemd/system")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source, target)
    for place, mode in package.folders:
        (layout.tree / place).mkdir(parents=True)
        (layout.tree / place).chmod(mode)
    _add_papers(layout, changelog, epoch)


def _add_program(layout: Layout, epoch: int) -> None:
    name = layout.package.program
    program = layout.tree / "usr" / "bin" / name
    program.parent.mkdir(parents=True)
    program.write_text(_PROGRAM.format(home=layout.package.home, module=name.replace("-", "_")))
    program.chmod(0o755)
    manual = layout.tree / "usr" / "share" / "man" / "man1" / f"{name}.1.gz"
    manual.parent.mkdir(parents=True)
    _compress(HERE / layout.package.name / f"{name}.1", manual, epoch)


def _add_papers(layout: Layout, changelog: str, epoch: int) -> None:
    layout.doc.mkdir(parents=True, exist_ok=True)
    site = str(layout.site.relative_to(layout.tree))
    (layout.doc / "copyright").write_text(papers.copyright_file(site, layout.wheels, epoch))
    (layout.doc / "changelog.gz").write_bytes(gzip.compress(changelog.encode(), mtime=epoch))
    _compress(ROOT / "CHANGELOG.md", layout.doc / "NEWS.md.gz", epoch)
    if (overrides := HERE / layout.package.name / "lintian-overrides").exists():
        place = layout.tree / "usr" / "share" / "lintian" / "overrides" / layout.package.name
        place.parent.mkdir(parents=True)
        shutil.copyfile(overrides, place)


def _compress(source: Path, target: Path, epoch: int) -> None:
    target.write_bytes(gzip.compress(source.read_bytes(), mtime=epoch))


def _remove_empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()
