"""A network namespace of a test's own: a thread moves into a new one, and it is gone with the thread."""

import asyncio
import ctypes
import subprocess
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

_T = TypeVar("_T")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)

OPEN_DATAGRAM_ICMP = "sysctl -qw net.ipv4.ping_group_range='0 2147483647'"


def enter(commands: Sequence[str] = ()) -> None:
    """Moves this thread into a new network namespace with loopback up, and runs shell commands there."""
    if _libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    for command in ("ip link set lo up", *commands):
        subprocess.run(command, shell=True, check=True)


def run_in_own_network(work: Callable[[], Coroutine[None, None, _T]], commands: Sequence[str] = ()) -> _T:
    """What `work()` gives, run on a new event loop in a network namespace of its own."""

    def inside() -> _T:
        enter(commands)
        return asyncio.run(work())

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(inside).result(timeout=60)


def join(pid: int) -> None:
    """Moves this thread into the network namespace of a process."""
    with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
        if _libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns(CLONE_NEWNET)")
