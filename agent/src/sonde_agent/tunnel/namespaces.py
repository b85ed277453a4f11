"""Namespaces, mounts, and what ties a process to its parent: kernel calls that Python 3.11 has no names for.

Most of these change the calling process for good; they are for a freshly forked child with one thread.
"""

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

NEW_MOUNTS = 0x0002_0000  # CLONE_NEW*, of linux/sched.h
NEW_PIDS = 0x2000_0000
NEW_NETWORK = 0x4000_0000

BIND, RECURSIVE, SLAVE = 0x1000, 0x4000, 0x8_0000  # MS_*, of linux/mount.h
NO_SUID, NO_DEVICES, NO_EXEC = 0x2, 0x4, 0x8

_MNT_DETACH = 0x2
_PR_SET_PDEATHSIG, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 23, 24, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_SYS_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE, _READ_ONLY = 442, -100, 0x8000, 0x1
_HIGHEST_CAPABILITY = 63  # of the 64 bits that the kernel keeps
_NSFS_OWN = "/proc/self/ns/net"

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    result: int = getattr(_libc, name)(*arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones; for pids, the next child is the first in it."""
    _call("unshare", flags)


def enter(netns: int) -> None:
    """Move this thread into the network namespace of an open file."""
    _call("setns", netns, NEW_NETWORK)


def own_netns() -> int:
    """Open the network namespace of this process; the caller closes it."""
    return os.open(_NSFS_OWN, os.O_RDONLY | os.O_CLOEXEC)


def new_netns() -> int:
    """Make a network namespace and stay outside; it lives as long as the open file, or whoever is in it."""
    here = own_netns()
    try:
        unshare(NEW_NETWORK)
        try:
            return own_netns()
        finally:
            enter(here)
    finally:
        os.close(here)


@contextmanager
def inside(netns: int) -> Iterator[None]:
    """Be in the network namespace of an open file for a while; sockets made there stay there."""
    here = own_netns()
    try:
        enter(netns)
        try:
            yield
        finally:
            enter(here)
    finally:
        os.close(here)


def own_mounts() -> None:
    """Give this process a mount namespace of its own: what it mounts, nobody else sees."""
    unshare(NEW_MOUNTS)
    mount("none", "/", flags=RECURSIVE | SLAVE)


def mount(source: str, target: str, *, fstype: str = "", flags: int = 0, options: str = "") -> None:
    """Mount `source` at `target` (mount(2))."""
    _call(
        "mount",
        source.encode(),
        target.encode(),
        fstype.encode() or None,
        ctypes.c_ulong(flags),
        options.encode() or None,
    )


def unmount(target: str) -> None:
    """Take what is mounted at `target` out of this namespace; who has a file open there keeps it."""
    _call("umount2", target.encode(), _MNT_DETACH)


def freeze_mounts() -> None:
    """Make all that is mounted in this namespace read-only, where the kernel can (5.12)."""
    attributes = (ctypes.c_uint64 * 4)(_READ_ONLY, 0, 0, 0)
    with suppress(OSError):
        _call(
            "syscall",
            ctypes.c_long(_SYS_MOUNT_SETATTR),
            _AT_FDCWD,
            b"/",
            ctypes.c_uint(_AT_RECURSIVE),
            ctypes.byref(attributes),
            ctypes.c_size_t(ctypes.sizeof(attributes)),
        )


def die_with_parent() -> None:
    """Be killed when the thread that forked this process ends; that it has not yet, must be checked after."""
    _call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def become(uid: int, gid: int, groups: list[int]) -> None:
    """Be this user, with no capability now nor after any exec, and no way to gain one."""
    for capability in range(_HIGHEST_CAPABILITY + 1):
        try:
            _call("prctl", _PR_CAPBSET_READ, capability, 0, 0, 0)
        except OSError:
            break  # this kernel knows no more of them
        _call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
    _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    header = (ctypes.c_uint32 * 2)(0x2008_0522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    none = (ctypes.c_uint32 * 6)()
    _call("capset", ctypes.byref(header), ctypes.byref(none))
    _call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
