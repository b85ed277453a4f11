"""WireGuard servers: in the kernel where it can, else wireguard-go; set up with `wg`."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sonde_lab.keys import KeyPair
from sonde_lab.programs import NETNS, Programs, in_netns

MTU = 1420  # 1500 - 40 (IPv6) - 8 (UDP) - 32 (WireGuard)


@dataclass(frozen=True, slots=True)
class Peer:
    """A client that a server knows.

    Attributes:
        public: its key.
        addresses: its addresses inside, with prefix length.
    """

    public: str
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """One server's end.

    Attributes:
        device: its name, unique in the lab: the control socket of wireguard-go is named after it.
        netns: where it stands.
        port: of the transport, on every address there.
        keys: the server's.
        addresses: its own inside, with prefix length.
        peers: whom it knows.
    """

    device: str
    netns: str
    port: int
    keys: KeyPair
    addresses: tuple[str, ...]
    peers: Sequence[Peer]


def configuration(interface: Interface) -> str:
    """Give what `wg setconf` reads. **Pure.**"""
    lines = ["[Interface]", f"PrivateKey = {interface.keys.private}", f"ListenPort = {interface.port}"]
    for peer in interface.peers:
        lines += ["[Peer]", f"PublicKey = {peer.public}", f"AllowedIPs = {', '.join(peer.addresses)}"]
    return "\n".join((*lines, ""))


def start(interface: Interface, programs: Programs) -> None:
    """Bring it up.

    Raises:
        LabError: it does not come up.
    """
    device = interface.device
    if not _in_kernel(interface):
        programs.start(
            device,
            interface.netns,
            ["wireguard-go", "-f", device],
            env={"LOG_LEVEL": "error", "GOMAXPROCS": "2"},
        )
        programs.wait(Path(f"/run/wireguard/{device}.sock").exists, name=device)
    in_netns(
        interface.netns,
        f"wg setconf {device} /dev/stdin <<'END'\n{configuration(interface)}END\n"
        + "".join(f"ip addr add {address} dev {device}\n" for address in interface.addresses)
        + f"ip link set {device} mtu {MTU} up\n",
    )


def _in_kernel(interface: Interface) -> bool:
    done = subprocess.run(
        ["ip", "-n", NETNS / interface.netns, "link", "add", interface.device, "type", "wireguard"],
        capture_output=True,
        check=False,
    )
    return done.returncode == 0
