"""The files that the lab's provider gives to its customers."""

import base64
import hashlib
from pathlib import Path

import pytest

from sonde_lab import faults, profiles
from sonde_lab.cookie import Cookies, subkey
from sonde_lab.material import Material
from sonde_lab.topology import SERVERS, vantages
from sonde_proto.profiles import parse


@pytest.fixture(scope="module")
def material() -> Material:
    """The secrets of a lab with two vantages."""
    return Material.new(vantages(2))


def test_every_profile_is_one_that_the_agent_takes(material: Material, tmp_path: Path) -> None:
    """Each file parses, with its server's protocol, and is readable by its owner alone."""
    profiles.write(tmp_path, material)
    files = [path for path in (tmp_path / "profiles").rglob("*") if path.is_file()]
    assert len(files) > 30
    for file in files:
        assert file.stat().st_mode & 0o777 == 0o600
        said = parse(file.name, file.read_bytes())
        assert file.suffix == {"W": ".conf", "O": ".ovpn", "I": ".sswan"}[said.protocol[0]]
    for server in SERVERS:
        place = tmp_path / "profiles" / profiles.FOLDERS[server.protocol]
        said = parse(profiles.file_name(server), (place / profiles.file_name(server)).read_bytes())
        assert (said.protocol, said.host, said.port) == (server.protocol, server.entry[0], server.port)


def test_every_fault_has_a_profile_for_each_of_its_protocols(material: Material) -> None:
    """No fault is without a file, and files name their fault."""
    names = profiles.faulty(material)
    for host in faults.HOSTS.values():
        ports = [host.wireguard, host.openvpn_udp, host.openvpn_tcp, host.ike]
        mine = [name for name in names if name.split(".")[0].endswith(f"-{host.fault}")]
        assert len(mine) == sum(port > 0 for port in ports), host.fault


def test_secrets_are_never_shown(material: Material) -> None:
    """The repr of a lab's secrets holds none of them."""
    shown = repr(material)
    assert material.accounts["lab"].password not in shown
    assert material.stranger.private not in shown
    assert material.tls_crypt not in shown


def test_hchacha20_is_that_of_the_draft() -> None:
    """The subkey of draft-irtf-cfrg-xchacha, section 2.2.1."""
    got = subkey(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927"))
    assert got.hex() == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"


def test_a_cookie_is_for_initiations_to_this_server_alone(material: Material) -> None:
    """An initiation with the right first MAC gets 64 bytes; any other datagram gets nothing."""
    public = material.servers["busy"].public
    body = b"\1\0\0\0" + bytes(112)
    key = hashlib.blake2s(b"mac1----" + base64.b64decode(public)).digest()
    good = body + hashlib.blake2s(body, key=key, digest_size=16).digest() + bytes(16)
    reply = Cookies(public).reply(good, b"192.0.2.1")
    assert reply is not None
    assert (len(reply), reply[0]) == (64, 3)
    for bad in (b"", good[:-1], bytes(148), good[:120] + bytes(28)):
        assert Cookies(public).reply(bad, b"192.0.2.1") is None
