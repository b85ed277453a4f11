"""What the binaries of a tree need of the system's libraries."""

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

_NEEDED = re.compile(r"^  NEEDED +(\S+)$", re.MULTILINE)
_GLIBC = re.compile(r"\bGLIBC_(\d+)\.(\d+)")


class UnknownLibrary(Exception):
    """A binary needs a library that no package here provides."""


def needs(tree: Path) -> str:
    """Give the packages that a tree needs, as a Depends field has them.

    dpkg-shlibdeps would do; for the many binaries of the collector it takes a minute, and stumbles over
    libraries that wheels bring for themselves.

    Raises:
        UnknownLibrary: one is neither in the tree nor in an installed package.
    """
    binaries = [file for file in sorted(tree.rglob("*")) if _is_binary(file)]
    if not binaries:
        return ""
    told = subprocess.run(["objdump", "-p", *binaries], capture_output=True, text=True, check=True).stdout
    missing = set(_NEEDED.findall(told)) - {file.name for file in binaries}
    libc = max((int(major), int(minor)) for major, minor in _GLIBC.findall(told))
    packages = set(_packages(missing)) - {"libc6"}
    return ", ".join([f"libc6 (>= {libc[0]}.{libc[1]})", *sorted(packages)])


def _packages(sonames: Iterable[str]) -> Iterable[str]:
    for soname in sorted(sonames):
        found = subprocess.run(
            ["dpkg-query", "-S", f"*/{soname}"], capture_output=True, text=True, check=False
        ).stdout
        system = [line for line in found.splitlines() if re.search(r": (/usr)?/lib(64)?/", line)]
        if not system:
            raise UnknownLibrary(
                f"{soname} is needed, and no installed package has it: apt-file search {soname}"
            )
        yield system[0].split(":")[0]


def _is_binary(file: Path) -> bool:
    if file.is_symlink() or not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(4) == b"\x7fELF"
