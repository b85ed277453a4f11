"""The resolvers of the lab: they know the lab's names and no others, and note who asked for what."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from sonde_lab import faults
from sonde_lab.programs import Programs
from sonde_lab.topology import ORIGIN, ORIGIN_ADDRESSES, SERVERS

_PLAIN, _SMART = "dnsmasq", "dnsmasq-smart"


def names() -> dict[str, tuple[str, ...]]:
    """Give every name of the lab and its IPv4 and IPv6 address. **Pure.**"""
    origins: dict[str, tuple[str, ...]] = {f"{name}.example": pair for name, pair in ORIGIN_ADDRESSES.items()}
    servers = {f"{server.key}.vpn.example": server.entry for server in SERVERS}
    return (
        origins | servers | {f"{key}.vpn.example": (one.ipv4, one.ipv6) for key, one in faults.HOSTS.items()}
    )


def platforms(hosts: Iterable[str], v4_only: Iterable[str], *, at: str) -> dict[str, tuple[str, ...]]:
    """Give the platforms' names, all with one place's addresses. **Pure.**

    Args:
        hosts: the names.
        v4_only: those among them that have no IPv6 address.
        at: of `ORIGIN_ADDRESSES`.
    """
    v4, v6 = ORIGIN_ADDRESSES[at]
    lacking = set(v4_only)
    return {host: (v4,) if host in lacking else (v4, v6) for host in hosts}


def configuration(known: Mapping[str, tuple[str, ...]], at: str = "resolver") -> str:
    """Give dnsmasq's: it answers for these names, each with its addresses. **Pure.**

    Args:
        known: name → addresses.
        at: where it listens, of `ORIGIN_ADDRESSES`.
    """
    return "\n".join(
        (
            "no-daemon",  # it stays who it is, and says on stderr who asked for what
            "no-resolv",
            "no-hosts",
            "local=/#/",  # what it does not know does not exist
            "bind-interfaces",
            *(f"listen-address={address}" for address in ORIGIN_ADDRESSES[at]),
            "log-queries",
            *(f"host-record={name},{','.join(addresses)}" for name, addresses in known.items()),
            "",
        )
    )


def start(folder: Path, hosts: Iterable[str], v4_only: Iterable[str], programs: Programs) -> None:
    """Start both; `folder`/logs/dnsmasq.log and dnsmasq-smart.log get a line for each question.

    The smart one answers the names of platforms with the proxy's address.

    Args:
        folder: the lab's.
        hosts: of the platforms.
        v4_only: those among them that have no IPv6 address.
        programs: takes them.

    Raises:
        LabError: one does not start.
    """
    for program, at, leads_to in ((_PLAIN, "resolver", "world"), (_SMART, "smart-dns", "smart-proxy")):
        conf = folder / "origin" / f"{program}.conf"
        conf.write_text(configuration(names() | platforms(hosts, v4_only, at=leads_to), at))
        programs.start(program, ORIGIN, ["dnsmasq", f"--conf-file={conf}"])
    programs.wait(lambda: "started" in programs.said(_PLAIN), name=_PLAIN)
    programs.wait(lambda: "started" in programs.said(_SMART), name=_SMART)
