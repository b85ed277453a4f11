"""Names to addresses, as this host does it (hosts file, resolver), and whether it has a family at all."""

import errno
import socket
import threading
import time
from pathlib import Path
from typing import NamedTuple

from sonde_agent.net.dial import Deadline
from sonde_agent.net.stamps import Interval

FAMILIES = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
SYSTEM_RESOLVER_FILE = Path("/etc/resolv.conf")
ELSEWHERE = {4: "192.0.2.1", 6: "2001:db8::1"}  # documentation addresses: routed by the default route, if any


class Resolved(NamedTuple):
    """Addresses in the order the host would try them; `took` is None where no resolver was asked."""

    addresses: list[str]
    took: Interval | None


_waiting = threading.BoundedSemaphore(64)  # threads that a dead resolver may hold at once


def _look_up(name: str, family: socket.AddressFamily, deadline: Deadline) -> list[str]:
    """getaddrinfo() in a thread of its own: nothing interrupts it, and no check nor our exit may wait."""
    found: list[str] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            entries = socket.getaddrinfo(name, None, family, socket.SOCK_STREAM)
            found.extend(dict.fromkeys(str(entry[4][0]) for entry in entries))
        except (OSError, UnicodeError) as error:
            errors.append(error)
        finally:
            _waiting.release()

    if not _waiting.acquire(timeout=deadline.left()):
        raise TimeoutError("the resolver holds too many threads")
    thread = threading.Thread(target=run, name="resolve", daemon=True)
    thread.start()
    thread.join(deadline.left())
    if isinstance(error := errors[0] if errors else None, UnicodeError):
        raise socket.gaierror(socket.EAI_NONAME, "the name can't be looked up") from None
    if error is not None:
        raise error
    if thread.is_alive():
        raise TimeoutError("no answer from the resolver")
    return found


def family_of(address: str) -> int:
    """4 or 6; 0 when it is no address but a name. **Pure.**"""
    for number in (4, 6):
        try:
            socket.inet_pton(FAMILIES[number], address.partition("%")[0])
        except (OSError, ValueError):
            continue
        return number
    return 0


def resolve(name: str, family: int, deadline: Deadline) -> Resolved:
    """All addresses of a name; an address is its own answer.

    Raises:
        socket.gaierror: as getaddrinfo() does, and EAI_NODATA for an address of the other family.
        TimeoutError: when the resolver had not answered at the deadline.
    """
    if own := family_of(name):
        if family not in (0, own):
            raise socket.gaierror(socket.EAI_NODATA, f"the address is not IPv{family}")
        return Resolved([name], None)
    start = time.monotonic_ns()
    addresses = _look_up(name, FAMILIES[family], deadline)
    return Resolved(addresses, Interval(time.monotonic_ns() - start, False))


def host_lacks(family: int) -> bool:
    """True when this host has no way out for the family; asks the routing table, sends nothing."""
    try:
        with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as sock:
            sock.connect((ELSEWHERE[family], 9))
    except OSError as error:
        return error.errno in (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EHOSTUNREACH)
    return False


def system_servers() -> list[str]:
    """The DNS servers of this host; the local one when the file names none (resolv.conf(5))."""
    try:
        text = SYSTEM_RESOLVER_FILE.read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    words = [line.split() for line in text.splitlines()]
    return [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"] or ["127.0.0.1"]
