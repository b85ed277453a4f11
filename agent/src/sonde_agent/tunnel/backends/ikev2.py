"""IKEv2 through strongSwan's charon, with ESP in charon itself (kernel-libipsec): any kernel with tun does.

Each charon has an uplink namespace of its own, because its device's name, its ports and its routes are fixed.
The account's password goes over vici and stands in no file.
"""

import ssl
import time
from pathlib import Path

from vici.exception import CommandException

from sonde_agent.net.peer import Peer
from sonde_agent.tunnel import links
from sonde_agent.tunnel.backends import charon, charon_conf
from sonde_agent.tunnel.backends.base import Room, Secrets, TunnelFailed, Up
from sonde_agent.tunnel.backends.charon import Charon
from sonde_agent.tunnel.backends.ikev2_log import ConnectionLog
from sonde_agent.tunnel.backends.transport import peer_of
from sonde_agent.tunnel.backends.uplink import Uplink
from sonde_proto.profiles import Ike, Profile
from sonde_proto.v1 import results_pb2 as pb

_PLUGIN_FOLDER = Path("/usr/lib/ipsec/plugins")
_PACKAGES = {
    # plug-in: Debian's package
    "kernel-libipsec": "libcharon-extra-plugins",
    "vici": "strongswan-swanctl",
    "eap-mschapv2": "libcharon-extauth-plugins",
    "openssl": "libstrongswan-standard-plugins",
}
_NO_RELAY = "the relay between charon and the server ended by itself"
_GOODBYE_S = 0.6  # a round trip of the farthest servers, twice


class Ikev2:
    """One tunnel through a charon of its own."""

    name = "ikev2"

    def __init__(self) -> None:
        self._uplink: Uplink | None = None
        self._charon: Charon | None = None
        self._up = False

    def lacks(self) -> str | None:
        """What this host lacks for it and how to mend that, or None: it can be used."""
        missing = [] if charon.program() else ["charon-systemd"]
        if _PLUGIN_FOLDER.is_dir():
            missing += [
                package
                for plugin, package in _PACKAGES.items()
                if not (_PLUGIN_FOLDER / f"libstrongswan-{plugin}.so").exists()
            ]
        if missing:
            return f"strongSwan is not all there: apt install {' '.join(missing)}"
        if not Path("/dev/net/tun").exists():
            return "there is no /dev/net/tun: modprobe tun"
        return None

    def up(self, profile: Profile, secrets: Secrets, room: Room) -> Up:
        """Connect, and leave the device configured in the box's namespace.

        Raises:
            TunnelFailed: as `Backend.up` says.
        """
        settings = profile.settings
        assert isinstance(settings, Ike)
        if not secrets.password or not (settings.eap_id or secrets.username):
            detail = "IKEv2 needs a user name and a password, and the credential has none"
            raise TunnelFailed(pb.FAILURE_PROFILE, pb.STAGE_AUTH, detail)
        if charon_conf.believes_anybody(settings):
            detail = f"the profile would believe any server: its remote id is {settings.remote_id}"
            raise TunnelFailed(pb.FAILURE_PROFILE, pb.STAGE_AUTH, detail)
        peer = peer_of(profile, room)
        try:
            self._uplink = Uplink(peer, room.host_netns)
        except OSError as error:
            detail = f"no way to {peer.address}: {error.strerror}"
            raise TunnelFailed(pb.FAILURE_UNREACHABLE, pb.STAGE_TRANSPORT, detail) from None
        self._prepare(settings, peer, secrets, room)
        log = self._connect(room)
        return self._furnish(settings, peer, log, room)

    def lost(self) -> TunnelFailed | None:
        """Why the tunnel is no longer up, or None: it is."""
        if self._charon is None or self._uplink is None:
            return None
        if self._charon.down():
            if not self._charon.alive():
                return TunnelFailed(pb.FAILURE_LOCAL, pb.STAGE_TRANSFER, "charon ended by itself")
            detail = "the connection ended: the server said so, or no longer answers"
            return TunnelFailed(pb.FAILURE_RESET, pb.STAGE_TRANSFER, detail)
        if not self._uplink.relaying():
            return TunnelFailed(pb.FAILURE_LOCAL, pb.STAGE_TRANSFER, _NO_RELAY)
        return None

    def down(self) -> None:
        """Tell the server that the session ends, and end charon and its uplink."""
        if self._charon is not None:
            if self._up and self._uplink is not None and self._uplink.relaying():
                self._charon.terminate(_GOODBYE_S)
            self._charon.kill()
        if self._uplink is not None:
            self._uplink.close()
        self._charon, self._uplink, self._up = None, None, False

    def _prepare(self, settings: Ike, peer: Peer, secrets: Secrets, room: Room) -> None:
        """Start charon, and tell it all that it needs."""
        assert self._uplink is not None
        authorities = settings.ca or _system_authorities()
        try:
            self._charon = Charon(room.folder, self._uplink.netns, room.deadline)
        except OSError as error:
            raise TunnelFailed(pb.FAILURE_LOCAL, pb.STAGE_NONE, f"charon does not start: {error}") from None
        connection = charon_conf.connection(
            settings, peer, local=self._uplink.local, username=secrets.username
        )
        try:
            for certificate in charon_conf.certificates(authorities):
                self._charon.request("load-cert", certificate)
            self._charon.request(
                "load-shared", charon_conf.password(settings, secrets.username, secrets.password)
            )
            self._charon.request("load-conn", connection)
        except CommandException as error:
            detail = f"strongSwan does not take the profile: {error}"
            raise TunnelFailed(pb.FAILURE_PROFILE, pb.STAGE_NONE, detail) from None
        except OSError as error:
            raise _charon_ended(error) from None

    def _connect(self, room: Room) -> ConnectionLog:
        assert self._uplink is not None
        assert self._charon is not None
        uplink = self._uplink
        log, ledger = ConnectionLog(room.stage), uplink.ledger

        def over() -> bool:
            failed = log.failed is not None or ledger.error != 0
            return failed or not uplink.relaying() or time.monotonic() >= room.deadline

        try:
            up = self._charon.initiate(log.hear, over)
        except OSError as error:
            raise _charon_ended(error) from None
        if not up and not uplink.relaying():
            raise TunnelFailed(pb.FAILURE_LOCAL, pb.STAGE_NONE, _NO_RELAY)
        if log.failed is not None or not up:
            raise log.failed or log.ended(ledger.answers, ledger.error)
        self._up = True
        if not log.addresses:
            detail = "the server assigned no address"
            raise TunnelFailed(pb.FAILURE_NO_ADDRESS, pb.STAGE_CONFIGURED, detail)
        self._charon.watch()
        return log

    def _furnish(self, settings: Ike, peer: Peer, log: ConnectionLog, room: Room) -> Up:
        """Move the device into the box and give it what the server assigned."""
        assert self._uplink is not None
        device = charon_conf.DEVICE
        mtu = charon_conf.device_mtu(settings, peer, peer.mtu())
        routes = ["::/0" if ":" in address else "0.0.0.0/0" for address in log.addresses]
        links.move(device, self._uplink.netns, room.box_netns)
        links.configure(room.box_netns, device, addresses=log.addresses, mtu=mtu, routes=routes)
        dns = tuple(log.dns) or settings.dns
        return Up(
            server_address=peer.address,
            server_port=peer.port,
            family=peer.family,
            device=device,
            addresses=tuple(log.addresses),
            gateway=dns[0] if dns else "",
            dns=dns,
            mtu=mtu,
        )


def _charon_ended(error: OSError) -> TunnelFailed:
    return TunnelFailed(pb.FAILURE_LOCAL, pb.STAGE_NONE, f"charon ended by itself: {error}")


def _system_authorities() -> str:
    """Give the host's own authorities, for a profile that names none."""
    bundle = ssl.get_default_verify_paths().cafile
    try:
        return Path(bundle or "").read_text(encoding="utf-8", errors="replace")
    except OSError:
        detail = "the profile names no authority, and this host has none: apt install ca-certificates"
        raise TunnelFailed(pb.FAILURE_PROFILE, pb.STAGE_NONE, detail) from None
