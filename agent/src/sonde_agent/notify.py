"""Tells systemd how the service is (sd_notify), through the socket named by $NOTIFY_SOCKET.

Source: sd_notify(3), sd_watchdog_enabled(3). Without the variable nothing is told.
"""

import contextlib
import os
import socket
from collections.abc import Mapping


class Notifier:
    """Speaks to the service manager, where there is one.

    Attributes:
        watchdog_s: the manager expects `alive` within this time; None = it does not watch.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # "@name" is a socket in the abstract namespace.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._socket = (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if path else None
        )
        if self._socket is not None:
            self._socket.setblocking(False)
        watched = environ.get("WATCHDOG_PID") in (None, "", str(os.getpid()))
        usec = environ.get("WATCHDOG_USEC", "")
        self.watchdog_s = int(usec) / 1e6 if watched and usec.isdigit() and int(usec) else None

    def ready(self, status: str) -> None:
        """Say that the service is up."""
        self._send(f"READY=1\nSTATUS={status}")

    def alive(self, status: str) -> None:
        """Feed the watchdog, and say in a line how things are."""
        watchdog = "WATCHDOG=1\n" if self.watchdog_s else ""
        self._send(f"{watchdog}STATUS={status}")

    def stopping(self) -> None:
        """Say that the service is going down."""
        self._send("STOPPING=1\nSTATUS=stopping: finishing what runs")

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is not None:
            # A manager that is busy or gone must not hold up or end the measuring.
            with contextlib.suppress(OSError):
                self._socket.sendto(message.encode(), self._address)
