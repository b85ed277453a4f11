"""A user and network namespace of our own: where an ordinary user may ping although the host forbids it.

Nothing in it but loopback. It needs no privilege where the kernel lets users make user namespaces. Made by a
short-lived child and held by two open files, so it ends with the last process that is in it.
"""

import ctypes
import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWUSER = 0x1000_0000
_CLONE_NEWNET = 0x4000_0000
_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1

_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceError(Exception):
    """This host does not let this user make a namespace; the message says what refused."""


@dataclass(frozen=True, slots=True)
class Namespace:
    """A held namespace.

    Attributes:
        user_fd: open file of the user namespace.
        net_fd: open file of the network namespace.
    """

    user_fd: int
    net_fd: int

    def enter(self) -> None:
        """Move this process into it. For a child between fork and exec: the process must have one thread.

        Raises:
            OSError: the kernel refuses.
        """
        _call("setns", self.user_fd, _CLONE_NEWUSER)
        _call("setns", self.net_fd, _CLONE_NEWNET)


def create() -> Namespace:
    """Make a namespace in which this user, as himself, may ping on a loopback of its own.

    Forks; call it before threads start.

    Raises:
        NamespaceError: the host refuses one of the steps.
    """
    told, tell = os.pipe()
    wait, let_go = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(let_go)  # or the child would wait for itself
        try:
            _prepare()
            os.write(tell, b"ready")
            os.read(wait, 1)
        except OSError as error:
            os.write(tell, (error.strerror or str(error)).encode())
        finally:
            os._exit(0)
    os.close(tell)
    os.close(wait)
    try:
        answer = os.read(told, 1000).decode()
        if answer != "ready":
            raise NamespaceError(answer or "the child ended without a word")
        room = Path(f"/proc/{child}/ns")
        return Namespace(os.open(room / "user", os.O_RDONLY), os.open(room / "net", os.O_RDONLY))
    except OSError as error:
        raise NamespaceError(str(error)) from error
    finally:
        os.close(told)
        os.close(let_go)
        os.waitpid(child, 0)


def _prepare() -> None:
    """In the child: unshare, map ourselves to ourselves, loopback up, ping for our own group."""
    uid, gid = os.getuid(), os.getgid()
    _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET)
    # The kernel takes a gid map from an ordinary user only after setgroups is off for good.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
    Path("/proc/sys/net/ipv4/ping_group_range").write_text(f"{gid} {gid}")


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments):
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
