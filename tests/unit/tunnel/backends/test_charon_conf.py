"""What charon is told."""

from pathlib import Path

from sonde_agent.net.peer import Peer
from sonde_agent.tunnel.backends import charon_conf
from sonde_agent.tunnel.backends.uplink import IKE_PORT, NAT_PORT, own_ports
from sonde_proto.profiles import Ike

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def test_all_files_are_in_the_room() -> None:
    """Every path in its settings lies in the room's folder."""
    words = charon_conf.settings_text(Path("/run/room")).replace("unix://", "").split()
    assert {word.rpartition("/")[0] for word in words if "/" in word} == {"/run/room"}


def test_own_ports() -> None:
    """From port 500 IKE goes over to 4500; any other port is kept from the first packet on."""
    assert own_ports(Peer("192.0.2.1", 500, 4)) == {500: IKE_PORT, 4500: NAT_PORT}
    assert own_ports(Peer("192.0.2.1", 4500, 4)) == {4500: NAT_PORT}


def test_who_we_are() -> None:
    """The profile's own identities go before the account's user name."""
    peer = Peer("192.0.2.1", 500, 4)

    def local(settings: Ike) -> object:
        message = charon_conf.connection(settings, peer, local="10.0.0.1", username="user")
        return message[charon_conf.CONNECTION]["local"]

    assert local(Ike("vpn.example")) == {"auth": "eap", "eap_id": "user", "id": "user"}
    named = Ike("vpn.example", eap_id="other", local_id="host.example")
    assert local(named) == {"auth": "eap", "eap_id": "other", "id": "host.example"}


def test_certificates() -> None:
    """Each authority of a bundle is a message of its own, without the prose between them."""
    found = charon_conf.certificates(f"# one\n{PEM}# two\n{PEM}")
    assert [message["data"] for message in found] == [PEM.strip()] * 2


def test_mtu() -> None:
    """The device's MTU leaves room for the longest ESP trailer, unless the profile says one."""
    peer = Peer("2001:db8::1", 500, 6)
    assert charon_conf.device_mtu(Ike("vpn.example"), peer, 1500) == 1379
    assert charon_conf.device_mtu(Ike("vpn.example", mtu=1300), peer, 1500) == 1300
