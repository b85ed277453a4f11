"""A network namespace whose only way out leads to one server: where charon lives.

It has nothing but a loopback. The server's address is one of its own, so what charon sends to the server
arrives at sockets of ours in that namespace; a relay passes each datagram on to the real server through
connected sockets in the host's namespace, and the answers back. So charon can reach nothing else, and the
host needs no address, route, rule or translation; what charon does to its routing ends with the namespace.
"""

import contextlib
import os
import signal
import socket

from sonde_agent.net.peer import Peer
from sonde_agent.net.resolve import FAMILIES
from sonde_agent.tunnel import links, namespaces
from sonde_agent.tunnel.backends.uplink_relay import Ledger, relay

IKE_PORT, NAT_PORT = 1500, 14500
"""On which charon has to listen in there; its own 500 and 4500 are the server's."""

_SERVER_IKE_PORT, _SERVER_NAT_PORT = 500, 4500  # RFC 7296, section 2.23
_LOOPBACK = "lo"
_LOOPBACK_MTU = 65_536
_LOCAL = {4: "10.255.255.1", 6: "fd5d:0de::1"}
_PREFIX = {4: 32, 6: 128}
_BUFFER_BYTES = 4 << 20  # 40 ms of 1 Gbit/s
_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32


def own_ports(peer: Peer) -> dict[int, int]:
    """Give the server's ports that are used, and to each the port of charon's that speaks to it. **Pure.**

    From port 500 IKE goes over to 4500 after its first exchange; on any other port it stays.
    """
    if peer.port == _SERVER_IKE_PORT:
        return {_SERVER_IKE_PORT: IKE_PORT, _SERVER_NAT_PORT: NAT_PORT}
    return {peer.port: NAT_PORT}


class Uplink:
    """The namespace and its relay.

    Args:
        peer: the server; its port is where IKE begins.
        host_netns: open file of the namespace from which the server is reached.

    Attributes:
        netns: open file of the namespace.
        local: charon's address in it.
        ledger: what came from the server.

    Raises:
        OSError: the host has no way to the server.
    """

    def __init__(self, peer: Peer, host_netns: int) -> None:
        self.netns = namespaces.new_netns()
        self.local = _LOCAL[peer.family]
        self.ledger = Ledger()
        self._relay = 0
        bits = _PREFIX[peer.family]
        addresses = [f"{address}/{bits}" for address in (peer.address, self.local)]
        links.configure(self.netns, _LOOPBACK, addresses=addresses, mtu=_LOOPBACK_MTU, routes=[])
        pairs = [self._pair(peer, port, own, host_netns) for port, own in own_ports(peer).items()]
        self._start(pairs)
        for sock in (sock for pair in pairs for sock in pair):
            sock.close()

    def relaying(self) -> bool:
        """Whether the relay is alive."""
        try:
            return self._relay != 0 and os.waitpid(self._relay, os.WNOHANG) == (0, 0)
        except ChildProcessError:
            return False

    def close(self) -> None:
        """End the relay and leave the namespace, which then is gone unless charon still is in it."""
        if self._relay:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._relay, signal.SIGKILL)
                os.waitpid(self._relay, 0)
            self._relay = 0
        if self.netns >= 0:
            os.close(self.netns)
            self.netns = -1

    def _pair(
        self, peer: Peer, port: int, own_port: int, host_netns: int
    ) -> tuple[socket.socket, socket.socket]:
        """Give two connected sockets: as the server towards charon, and as charon towards the server."""
        with namespaces.inside(self.netns):
            inner = _datagrams(peer.family)
            inner.bind((peer.address, port))
            inner.connect((self.local, own_port))
        with namespaces.inside(host_netns):
            outer = _datagrams(peer.family)
            outer.connect((peer.address, port))
        return inner, outer

    def _start(self, pairs: list[tuple[socket.socket, socket.socket]]) -> None:
        """Fork the relay: a process apart, so that its work and ours do not wait for each other."""
        parent = os.getpid()
        self._relay = os.fork()
        if self._relay:
            return
        try:
            namespaces.die_with_parent()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            if os.getppid() == parent:
                relay(pairs, self.ledger)
        finally:
            os._exit(1)


def _datagrams(family: int) -> socket.socket:
    sock = socket.socket(FAMILIES[family], socket.SOCK_DGRAM)
    for option in (_SO_RCVBUFFORCE, _SO_SNDBUFFORCE):
        sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    return sock
