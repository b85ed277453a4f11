"""The C compiler, where this host has one."""

import shutil
import subprocess
from pathlib import Path

from sonde_lab.programs import LabError


def build(source: Path, folder: Path, *options: str) -> Path | None:
    """Compile one file of C into `folder`; None = there is no compiler.

    Raises:
        LabError: the compiler refuses; with its words.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    built = folder / source.stem
    done = subprocess.run(
        [compiler, "-O2", *options, "-o", built, source], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LabError(f"can't compile {source}: {done.stderr.strip()[:500]}")
    return built
