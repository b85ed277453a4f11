"""What the tunnels' benchmarks run in: a lab, a tunnel helper at each of its vantages, and rounds."""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sonde_lab.lab import Lab, missing_programs

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.vantage import Vantage  # noqa: E402

Vantages = dict[str, Vantage]
ROUNDS = 7
_NO_ROUND_AFTER_S = 84.0  # on a machine too busy for all of them; the number of samples tells


def arguments(doc: str, names: Sequence[str]) -> tuple[list[str], int]:
    """Give the rows that are wanted and how many rounds; end the program where it can't measure."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(names), metavar="NAME,...", help="these rows alone")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of measuring each (default {ROUNDS})")
    args = parser.parse_args()
    if missing := (["root"] if os.geteuid() else []) + missing_programs():
        sys.exit(f"needs root and the lab's programs; missing: {', '.join(missing)}")
    return args.only.split(","), args.rounds


@contextlib.contextmanager
def lab_with_helpers() -> Iterator[Vantages]:
    """Have a lab without what misbehaves, and a helper at each vantage, by its code."""
    os.chdir(ROOT)  # the helpers find their support modules from there
    folder = Path(tempfile.mkdtemp(prefix="sonde-bench-"))  # short: paths of sockets end at 107 bytes
    try:
        with Lab.up(folder, faults=False) as lab, contextlib.ExitStack() as stack:
            yield {code: stack.enter_context(Vantage(lab, code)) for code in lab.vantages}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rounds_in_time(rounds: int) -> Iterator[None]:
    """Go through rounds; none but the first begins when the time for them is over."""
    began = time.monotonic()
    for number in range(rounds):
        if number and time.monotonic() > began + _NO_ROUND_AFTER_S:
            return
        yield
