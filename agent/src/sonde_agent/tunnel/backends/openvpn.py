"""OpenVPN over UDP and TCP: a process of it in the host's namespace, its device in the box.

The transport's socket stays where the process runs. The tun it makes is moved into the box when it is
connected, so that our plumbing is in no stage.
"""

import secrets as tokens
import shutil
from pathlib import Path

from sonde_agent.net.peer import Peer
from sonde_agent.tunnel import links
from sonde_agent.tunnel.backends.base import Room, Secrets, TunnelFailed, Up
from sonde_agent.tunnel.backends.openvpn_config import device_mtu
from sonde_agent.tunnel.backends.openvpn_dialogue import Dialogue
from sonde_agent.tunnel.backends.openvpn_process import OpenVpnProcess
from sonde_agent.tunnel.backends.transport import peer_of
from sonde_proto.profiles import OpenVpn, Profile

_DEVICE = "sonde"


class OpenVpnBackend:
    """One tunnel through an OpenVPN process."""

    name = "openvpn"

    def __init__(self) -> None:
        self._process: OpenVpnProcess | None = None

    def lacks(self) -> str | None:
        """What this host lacks for it and how to mend that, or None: it can be used."""
        if shutil.which("openvpn") is None:
            return "OpenVPN is not installed: apt install openvpn"
        if not Path("/dev/net/tun").exists():
            return "there is no /dev/net/tun: modprobe tun"
        return None

    def up(self, profile: Profile, secrets: Secrets, room: Room) -> Up:
        """Connect, and leave the device configured in the box's namespace.

        Raises:
            TunnelFailed: as `Backend.up` says.
        """
        settings = profile.settings
        assert isinstance(settings, OpenVpn)
        peer = peer_of(profile, room, family=settings.remotes[0].family)
        device = _DEVICE + tokens.token_hex(4)
        self._process = process = OpenVpnProcess(
            settings,
            peer,
            device=device,
            secrets=secrets,
            folder=room.folder,
            deadline=room.deadline,
            stage=room.stage,
        )
        process.until_connected(room.deadline)
        return self._furnish(settings, peer, device, process.dialogue, room)

    def lost(self) -> TunnelFailed | None:
        """Why the tunnel is no longer up, or None: it is."""
        return None if self._process is None else self._process.lost()

    def down(self) -> None:
        """Tell the server that the session ends, and end the process."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _furnish(self, settings: OpenVpn, peer: Peer, device: str, dialogue: Dialogue, room: Room) -> Up:
        """Move the device into the box and give it what the server assigned."""
        assert dialogue.pushed is not None
        pushed = dialogue.pushed
        mtu = device_mtu(settings, peer, peer.mtu(), pushed=pushed.mtu, cipher=pushed.cipher)
        routes = ["::/0" if ":" in address else "0.0.0.0/0" for address in pushed.addresses]
        links.move(device, room.host_netns, room.box_netns)
        links.configure(room.box_netns, device, addresses=pushed.addresses, mtu=mtu, routes=routes)
        dns = pushed.dns or settings.dns
        return Up(
            server_address=peer.address,
            server_port=peer.port,
            family=peer.family,
            device=device,
            addresses=pushed.addresses,
            gateway=pushed.gateway or (dns[0] if dns else ""),
            dns=dns,
            mtu=mtu,
        )
