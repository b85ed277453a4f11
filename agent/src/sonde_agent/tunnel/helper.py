"""The privileged room: it opens tunnels for the agent, and does nothing else.

One thread accepts connections, sees who is there, and forks a keeper for each; it reads no byte of what is
sent. The keeper judges the one typed request by the helper's own copy of the configuration.
"""

import errno
import fcntl
import gc
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import structlog

from sonde_agent.notify import Notifier
from sonde_agent.tunnel import forks, namespaces
from sonde_agent.tunnel.helper_rules import Rules
from sonde_agent.tunnel.keeper import Keeper
from sonde_agent.tunnel.user import User, peer_uid

_MOST_WITHOUT_TUNNEL = 16  # connections whose request is being read, or that only describe
_STOP_WITHIN_S = (
    4.0  # a keeper gives its box 1.2 s for its goodbye; a busy kernel may need as much again to tidy up
)

log = structlog.get_logger()

Accept = Callable[[socket.socket], socket.socket | None]


class _Stop(Exception):
    """SIGTERM."""


class Helper:
    """Serves connections until it is told to stop, or their source ends.

    Args:
        rules: what is allowed.
        user: the agent's; who else but root may ask, and who runs the checks in the boxes.
    """

    def __init__(self, rules: Rules, user: User) -> None:
        self._rules = rules
        self._user = user
        self._selector = selectors.DefaultSelector()
        self._keepers: dict[int, int] = {}  # pidfd -> pid
        self._slots = os.memfd_create("slots")

    def serve(self, source: socket.socket, accept: Accept, notifier: Notifier) -> None:
        """Take connections out of `source` by `accept`, which gives None when there will be no more."""
        gc.collect()
        gc.freeze()  # what is here now stays shared with the children
        signal.signal(signal.SIGTERM, _stop)
        self._selector.register(source, selectors.EVENT_READ)
        look_s = notifier.watchdog_s / 3 if notifier.watchdog_s else None
        notifier.ready(self._status())
        try:
            while True:
                ready = self._selector.select(look_s)
                notifier.alive(self._status())
                for key, _ in ready:
                    if key.fd in self._keepers:
                        self._reap(key.fd)
                        continue
                    connection = accept(source)
                    if connection is None:
                        return
                    with connection:
                        self._take(connection, source)
        except _Stop:
            pass
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            notifier.stopping()
            self._end_all()

    def _status(self) -> str:
        return f"{len(self._keepers)} connections"

    def _take(self, connection: socket.socket, source: socket.socket) -> None:
        uid = peer_uid(connection)
        if uid not in (0, self._user.uid):
            log.warning("refused", uid=uid, reason="neither root nor the agent's user")
            return
        if len(self._keepers) >= self._rules.most + _MOST_WITHOUT_TUNNEL:
            log.warning("refused", uid=uid, reason="too many connections")
            return
        helper = os.getpid()

        def keep() -> None:
            namespaces.die_with_parent()
            if os.getppid() != helper:
                return  # it died before the kernel knew that this process is to die with it
            source.close()
            self._selector.close()
            Keeper(connection, self._rules, self._user, self._take_slot).run()

        pid = forks.fork(keep)
        pidfd = os.pidfd_open(pid)
        self._keepers[pidfd] = pid
        self._selector.register(pidfd, selectors.EVENT_READ)

    def _take_slot(self) -> bool:
        """Take one of the places for tunnels; the kernel gives it back when this process ends, however."""
        for slot in range(self._rules.most):
            try:
                fcntl.lockf(self._slots, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise
            else:
                return True
        return False

    def _reap(self, pidfd: int) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)
        os.waitpid(self._keepers.pop(pidfd), 0)

    def _end_all(self) -> None:
        """Let the tunnels say goodbye; what takes too long dies with this process."""
        for pid in self._keepers.values():
            os.kill(pid, signal.SIGTERM)
        until = time.monotonic() + _STOP_WITHIN_S
        while self._keepers and (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                if key.fd in self._keepers:
                    self._reap(key.fd)
                else:
                    self._selector.unregister(key.fileobj)


def accept_from_listener(listener: socket.socket) -> socket.socket | None:
    """Take the next connection of a listening socket, which never ends."""
    return listener.accept()[0]


def accept_from_parent(control: socket.socket) -> socket.socket | None:
    """Take the next connection that the parent passes on; None when the parent is gone."""
    _, descriptors, _, _ = socket.recv_fds(control, 1, 1)
    return socket.socket(fileno=descriptors[0]) if descriptors else None


def listen(path: str, group: int) -> socket.socket:
    """Give a socket at `path` that only root and a group may connect to; an old one is replaced."""
    fresh = Path(f"{path}.new")  # until it listens: who finds it at its place is never turned away
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(fresh))
    finally:
        os.umask(before)
    os.chown(fresh, 0, group)
    fresh.chmod(0o660)
    listener.listen()
    fresh.rename(path)
    return listener


def listener_of_systemd() -> socket.socket | None:
    """Give the socket that systemd listens on for us (sd_listen_fds(3)); None = it passes none."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        return None
    return socket.socket(fileno=3)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise _Stop
