"""The wheels that a package is made of: the pinned ones, checked against their hashes, and our own."""

import functools
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

from attrs import frozen
from packaging.utils import canonicalize_name, parse_wheel_filename
from pins import OURS, closure, locked

ROOT = Path(__file__).resolve().parents[2]
_NO_SCRIPTS = frozenset(("scripts", "headers", "data"))


@frozen
class Wheel:
    """One wheel.

    Attributes:
        name: canonical.
        version: as its file name says.
        file: where it is.
        sha256: of the file, as the lock has it for what is not ours.
        licence: an SPDX expression where the package gives one, else what it says.
        ours: made from this repository.
    """

    name: str
    version: str
    file: Path
    sha256: str
    licence: str
    ours: bool


def gather(wanted: str, python: str, scratch: Path) -> list[Wheel]:
    """Give the wheels of `wanted` and of all that it needs, by name.

    Args:
        wanted: a requirement for one of our distributions.
        python: version of the Python that is packaged for, such as "3.11".
        scratch: where wheels are kept from one build to the next.
    """
    environment = {"python_version": python, "python_full_version": f"{python}.0"}
    ours, foreign = closure(wanted, environment)
    pins = locked(ROOT / "requirements.lock")
    theirs = scratch / f"theirs-{python}"
    theirs.mkdir(parents=True, exist_ok=True)
    found = [_read(file) for file in theirs.glob("*.whl")]
    found = [wheel for wheel in found if wheel.name in foreign and wheel.sha256 in pins[wheel.name]]
    if missing := foreign - {wheel.name for wheel in found}:
        _download([pins[name] for name in sorted(missing)], python, theirs)
        return gather(wanted, python, scratch)
    found += [_own(name, scratch / "ours") for name in ours]
    return sorted(found, key=lambda wheel: wheel.name)


def _download(pins: Sequence[str], python: str, into: Path) -> None:
    requirements = into / f"missing-{os.getpid()}.txt"  # builds may run side by side
    requirements.write_text("\n".join(pins) + "\n")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check", "download"),
            *("--require-hashes", "--no-deps", "--only-binary", ":all:"),
            *(
                "--implementation",
                "cp",
                "--python-version",
                python,
                "--dest",
                into,
                "--requirement",
                requirements,
            ),
        ],
        check=True,
    )
    requirements.unlink()


@functools.cache
def _own(name: str, folder: Path) -> Wheel:
    """Build a distribution of this repository, once a run: its sources may have changed since the last."""
    for old in folder.glob(f"{name.replace('-', '_')}-*.whl"):
        old.unlink()
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
        cwd=ROOT / name.removeprefix("sonde-"),
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (file,) = folder.glob(f"{name.replace('-', '_')}-*.whl")
    return _read(file)


def _read(file: Path) -> Wheel:
    name, version, _, _ = parse_wheel_filename(file.name)
    return Wheel(
        name=canonicalize_name(name),
        version=str(version),
        file=file,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        licence=_licence(_metadata(file)),
        ours=name in OURS,
    )


def _metadata(file: Path) -> Message:
    with zipfile.ZipFile(file) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA") and n.count("/") == 1]
        return HeaderParser().parsestr(archive.read(name).decode())


def _licence(metadata: Message) -> str:
    if expression := metadata.get("License-Expression"):
        return str(expression)
    said = str(metadata.get("License") or "").strip()
    if said and "\n" not in said:
        return said
    classifiers = [str(line) for line in metadata.get_all("Classifier", ())]
    named = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")]
    return " OR ".join(named) or "NOASSERTION"


def unpack(wheel: Wheel, into: Path) -> None:
    """Lay a wheel's modules and data out below `into`; its console scripts are left out.

    Raises:
        ValueError: a name in it would leave `into`.
    """
    with zipfile.ZipFile(wheel.file) as archive:
        for entry in archive.infolist():
            parts = entry.filename.split("/")
            if parts[0].endswith(".data"):
                if parts[1] in _NO_SCRIPTS:
                    continue
                parts = parts[2:]  # purelib, platlib
            if entry.is_dir():
                continue
            target = into.joinpath(*parts)
            if ".." in parts or entry.filename.startswith("/"):
                raise ValueError(f"{wheel.file.name}: holds {entry.filename}, which is no place for a file")
            target.parent.mkdir(parents=True, exist_ok=True)
            content = archive.read(entry)
            target.write_bytes(content)
            # Whatever a wheel says: modules and libraries are no programs.
            target.chmod(0o755 if content.startswith(b"\x7fELF") and ".so" not in target.name else 0o644)
