"""Keeps the memory of a long-running agent small."""

import contextlib
import ctypes

_M_ARENA_MAX = -8  # mallopt(3)


def keep_one_arena() -> None:
    """Let all threads of this process allocate from one heap; call it before the first thread starts.

    glibc gives each thread a heap of its own, which keeps what that thread once needed at most: 2 MB more on
    an agent under load. Threads here wait for networks and disks, not for each other's allocations. Another
    C library has no such setting and no such heaps.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
