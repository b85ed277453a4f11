"""What this host can measure, as the collector is told."""

import contextlib

from sonde_agent.config import AgentConfig
from sonde_agent.net.icmp_socket import IcmpClosed, open_icmp
from sonde_agent.net.resolve import host_lacks
from sonde_agent.tunnel.client import TunnelError, Tunnels
from sonde_agent.unlock_diagnosis import tls_here

_TOLD = ("pause", "run-now")  # an older agent does not hear of it


def capabilities(config: AgentConfig) -> list[str]:
    """Give "ping4", "endpoint6" …, "throughput", "unlock:…", "credential:NAME"; what it can be told."""
    found = []
    for family in (4, 6):
        lacks = host_lacks(family)
        with contextlib.suppress(IcmpClosed, OSError):
            open_icmp(family).sock.close()
            found += [] if lacks else [f"ping{family}"]
        found += [] if lacks else [f"endpoint{family}"]
    unlock = [f"unlock:{tls_here()}-tls"] if config.policy.rule_keys and tls_here() else []
    credentials = (f"credential:{name}" for name in sorted(config.credential))
    return [*found, "throughput", *_TOLD, *unlock, *credentials]


async def tunnel_capabilities(tunnels: Tunnels) -> list[str]:
    """Give "tunnel:BACKEND" for each way to open one here; asks the tunnel helper."""
    try:
        host = await tunnels.host()
    except TunnelError:
        return []
    return [f"tunnel:{backend.name}" for backend in host.backends if not backend.lacks]
