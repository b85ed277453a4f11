"""The calls of Linux that Python 3.11 has no name for: namespaces, mounts, a child's tie to its parent."""

import ctypes
import os

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18

_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Move this process into new namespaces; a new PID namespace begins with its next child.

    Raises:
        OSError: the kernel refuses.
    """
    _call("unshare", flags)


def setns(fd: int, kind: int) -> None:
    """Move this thread into the namespace whose open file is `fd`; user and mount need a single thread.

    Raises:
        OSError: the kernel refuses.
    """
    _call("setns", fd, kind)


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """Mount `source` on `target`.

    Raises:
        OSError: the kernel refuses; names `target`.
    """
    if _libc.mount(source.encode(), target.encode(), kind.encode(), flags, options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, f"mount {target}: {os.strerror(code)}")


def die_with_parent(number: int) -> None:
    """Have the kernel send this process the signal `number` when its parent ends."""
    _call("prctl", _PR_SET_PDEATHSIG, number, 0, 0, 0)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
