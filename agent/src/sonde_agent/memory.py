"""Keeps the memory of a long-running agent small."""

import contextlib
import ctypes
import os
import re
from pathlib import Path

_M_ARENA_MAX = -8  # mallopt(3)
_LIBRARY = re.compile(r"^\S+ r-xp \S+ \S+ \S+ +(/.+)$", re.MULTILINE)  # proc_pid_maps(5)


def keep_one_arena() -> None:
    """Let all threads of this process allocate from one heap; call it before the first thread starts.

    glibc gives each thread a heap of its own, which keeps what that thread once needed at most: 2 MB more on
    an agent under load. Threads here wait for networks and disks, not for each other's allocations. Another
    C library has no such setting and no such heaps.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return what starting up has left: free heap, and pages of libraries that were read ahead in vain.

    The kernel charges read-ahead to who caused it: of gRPC's 17 MB library 6 are never used. A page that any
    process has mapped stays (posix_fadvise(2)). Touches /proc and the page cache; blocks for milliseconds.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        for library in set(_LIBRARY.findall(Path("/proc/self/maps").read_text(encoding="utf-8"))):
            _forget_unused(library)


def _forget_unused(path: str) -> None:
    with contextlib.suppress(OSError):  # replaced by an upgrade meanwhile
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)
