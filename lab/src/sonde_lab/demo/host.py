"""What this host lets the demo do, found out by trying it."""

import errno
import fcntl
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST_SOCKET_PATH = 100  # the kernel takes 107 bytes


class DemoError(Exception):
    """The demo can't go on; the message says why and what to do."""


def may_ping() -> bool:
    """Tell whether this user may send ICMP echoes here: a ping socket, or a raw one."""
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        try:
            socket.socket(socket.AF_INET, kind, socket.IPPROTO_ICMP).close()
        except OSError:
            continue
        return True
    return False


def has_ipv6() -> bool:
    """Tell whether ::1 is there."""
    try:
        free_port(("::1",), 0)
    except OSError:
        return False
    return True


def free_port(addresses: tuple[str, ...], preferred: int) -> int:
    """Return a TCP port that is free on all `addresses`: `preferred`, or the next one the kernel gives.

    Raises:
        OSError: an address is not there.
    """
    while True:
        chosen = preferred
        try:
            for address in addresses:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                with socket.socket(family, socket.SOCK_STREAM) as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind((address, chosen))
                    chosen = probe.getsockname()[1]
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            preferred = 0
            continue
        return chosen


def socket_path(folder: Path) -> Path:
    """Return where the collector's unix socket may be: in `folder`, or somewhere shorter that is ours."""
    inside = folder / "collector.sock"
    if len(os.fsencode(inside)) <= _LONGEST_SOCKET_PATH:
        return inside
    return Path(tempfile.mkdtemp(prefix="sonde-")) / "collector.sock"


@contextmanager
def only_one(folder: Path) -> Iterator[int]:
    """Hold the folder for one demo and its children; yield the lock's open file.

    A demo that was killed holds it until its children have stopped, so that is waited for.

    Raises:
        DemoError: another demo holds it, or the folder is someone else's.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise DemoError(
            f"can't write {folder}: {error.strerror}; remove it or give another with --dir"
        ) from None
    try:
        deadline = time.monotonic() + 30
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise DemoError(
                        f"another demo runs in {folder}: end it, or give another folder with --dir"
                    ) from None
                if not told:
                    print("waiting for the demo that runs in this folder to end")
                    told = True
                time.sleep(0.1)
        yield lock
    finally:
        os.close(lock)
