"""The resolver of the lab: it knows the lab's names and no others, and notes who asked for what."""

from collections.abc import Mapping
from pathlib import Path

from sonde_lab import faults
from sonde_lab.programs import Programs
from sonde_lab.topology import ORIGIN, ORIGIN_ADDRESSES, SERVERS


def names() -> dict[str, tuple[str, str]]:
    """Give every name and its IPv4 and IPv6 address. **Pure.**"""
    return (
        {f"{name}.example": pair for name, pair in ORIGIN_ADDRESSES.items()}
        | {f"{server.key}.vpn.example": server.entry for server in SERVERS}
        | {f"{fault}.vpn.example": (host.ipv4, host.ipv6) for fault, host in faults.HOSTS.items()}
    )


def configuration(known: Mapping[str, tuple[str, str]]) -> str:
    """Give dnsmasq's: it answers for these names, each with its addresses. **Pure.**"""
    v4, v6 = ORIGIN_ADDRESSES["resolver"]
    return "\n".join(
        (
            "no-daemon",  # it stays who it is, and says on stderr who asked for what
            "no-resolv",
            "no-hosts",
            "local=/#/",  # what it does not know does not exist
            "bind-interfaces",
            f"listen-address={v4}",
            f"listen-address={v6}",
            "log-queries",
            *(f"host-record={name},{','.join(pair)}" for name, pair in known.items()),
            "",
        )
    )


def start(folder: Path, programs: Programs) -> None:
    """Start it; `folder`/logs/dnsmasq.log gets a line for each question.

    Raises:
        LabError: it does not start.
    """
    conf = folder / "origin" / "dnsmasq.conf"
    conf.write_text(configuration(names()))
    programs.start("dnsmasq", ORIGIN, ["dnsmasq", f"--conf-file={conf}"])
    programs.wait(lambda: "started" in programs.said("dnsmasq"), name="dnsmasq")
