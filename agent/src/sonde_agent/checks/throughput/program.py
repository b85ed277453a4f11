"""A measuring program of someone else's, held to our bytes: the kernel counts what it reads and writes."""

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from sonde_agent.checks.base import CheckImpossible

_LOOK_EVERY_S = 0.02
_GRACE_S = 2.0
_DIE_WITH_US = ("--pdeathsig", "KILL", "--")
"""Of util-linux's setpriv: what runs when this agent is killed would go on to load the path."""


class Ended(NamedTuple):
    """How a program ended."""

    output: str
    complaint: str
    bounded: bool  # it was stopped for its bytes


async def run_bounded(argv: Sequence[str], package: str, most_bytes: int) -> Ended:
    """Run a program until it ends, or is stopped by SIGINT at `most_bytes` read and written.

    It may exceed them by what moves in 20 ms. When this is cancelled, the program is killed.

    Args:
        argv: program and arguments.
        package: what to install where the program is missing, in words.
        most_bytes: all that it may read and write, sockets and files alike.

    Raises:
        CheckImpossible: the program is missing, or this kernel does not count its bytes.
    """
    path = shutil.which(argv[0])
    if path is None:
        raise CheckImpossible(f"{argv[0]} is not installed on this host: {package}")
    setpriv = shutil.which("setpriv")
    process = await asyncio.create_subprocess_exec(
        *([setpriv, *_DIE_WITH_US] if setpriv else ()), path, *argv[1:], stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    reading = asyncio.create_task(process.communicate())
    bounded = False
    try:
        begun = _moved(process.pid) or 0
        while not reading.done():
            await asyncio.wait([reading], timeout=_LOOK_EVERY_S)
            moved = _moved(process.pid)
            if moved is not None and moved - begun >= most_bytes and not bounded:
                bounded = True
                process.send_signal(signal.SIGINT)
        output, complaint = await reading
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.wait([reading], timeout=_GRACE_S)
    return Ended(output.decode("utf-8", "replace"), complaint.decode("utf-8", "replace"), bounded)


def _moved(pid: int) -> int | None:
    """Bytes that a program of ours has read and written so far; None when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        if not Path("/proc/self/io").exists():
            raise CheckImpossible(
                "this kernel does not count what a program reads (CONFIG_TASK_IO_ACCOUNTING): "
                "only our own engine can be held to its bytes here"
            ) from None
        return None
    except PermissionError:
        return None  # it has ended, and waits to be collected
    return sum(int(line.split()[1]) for line in lines[:2])
