"""The way into a box: from root in the host's network to a user without privilege in the tunnel's."""

import fcntl
import os
import resource
import sys
from pathlib import Path

from attrs import frozen

from sonde_agent.log import DEBUG_VARIABLE, debug
from sonde_agent.tunnel import chamber, namespaces
from sonde_agent.tunnel.user import User

CANT_EXECUTE = 126
"""Exit code, as shells have it: this user may not run the program that the helper runs."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PING_GROUPS = Path("/proc/sys/net/ipv4/ping_group_range")
_EVERYBODY = "0 2147483647"
_FIRST_OTHER, _HIGHEST_FD = 5, 1 << 20


@frozen
class Descent:
    """What a forked child needs to become `sonde-agent box`.

    Attributes:
        netns: of the box.
        user: whom it is to be.
        orders: readable end of its orders.
        events: writable end of what it tells.
    """

    netns: int
    user: User
    orders: int
    events: int

    def run(self) -> None:
        """Become it; never returns."""
        namespaces.enter(self.netns)
        _PING_GROUPS.write_text(_EVERYBODY)  # a new namespace lets nobody ping without privilege
        chamber.furnish_inside()
        os.chdir("/")
        # First out of the way: the ends may stand where they are to go.
        orders, events = (fcntl.fcntl(fd, fcntl.F_DUPFD, _FIRST_OTHER) for fd in (self.orders, self.events))
        null = os.open(os.devnull, os.O_RDONLY)
        for fd, place in ((null, 0), (2, 1), (orders, chamber.ORDERS), (events, chamber.EVENTS)):
            os.dup2(fd, place)
        os.closerange(_FIRST_OTHER, _HIGHEST_FD)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        namespaces.become(self.user.uid, self.user.gid, list(self.user.groups))
        environment = {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": "/", "TMPDIR": str(chamber.FOLDER)}
        if debug():
            environment[DEBUG_VARIABLE] = "1"
        argv = [sys.executable, "-I", "-m", "sonde_agent.cli", "box"]
        try:
            os.execve(sys.executable, argv, environment)  # noqa: S606 -- no shell is what is wanted
        except OSError:
            os._exit(CANT_EXECUTE)
