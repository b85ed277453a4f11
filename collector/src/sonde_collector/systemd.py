"""sd_notify(3): telling systemd that the service is ready, or stops. Nothing happens elsewhere."""

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
