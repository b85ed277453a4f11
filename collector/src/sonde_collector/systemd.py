"""sd_notify(3): telling systemd that the service is ready, lives, or stops. Nothing happens elsewhere."""

import asyncio
import os
import socket


def notify(state: str) -> None:
    """Send `state`, such as "READY=1", to the service manager, if there is one."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError:
            return  # the manager went away: nobody is left to tell


async def keep_watched() -> None:
    """Feed the watchdog from the event loop, where there is one (sd_watchdog_enabled(3)).

    It says that this process works, not that its database does: no restart of ours mends that.
    """
    usec = os.environ.get("WATCHDOG_USEC", "")
    if not usec.isdigit() or not int(usec) or os.environ.get("WATCHDOG_PID") != str(os.getpid()):
        return
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(int(usec) / 1e6 / 3)
