"""The files that the lab's provider gives to its customers: profiles, and what an account is proven with."""

import base64
import json
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from sonde_lab import faults
from sonde_lab.keys import KeyPair
from sonde_lab.material import BUSY, SHARED, Material
from sonde_lab.topology import ORIGIN_ADDRESSES, SERVERS, SMART_ENTRY, SMART_OF, Server
from sonde_lab.vpn_servers import ikev2

FOLDERS = {"WireGuard": "lab-wg", "OpenVPN-UDP": "lab-ovpn", "OpenVPN-TCP": "lab-ovpn", "IKEv2": "lab-ike"}
"""Under profiles/: one for each credential."""
_SUFFIXES = {"WireGuard": "conf", "OpenVPN-UDP": "ovpn", "OpenVPN-TCP": "ovpn", "IKEv2": "sswan"}
_SHORT = {"WireGuard": "wg", "OpenVPN-UDP": "udp", "OpenVPN-TCP": "tcp", "IKEv2": "ike"}
SMART = "lab-smart"
"""The same for customers of smart DNS: the way of `SMART_OF`, another resolver."""
IDENTITY = "vpn.example"
"""What the certificate of every OpenVPN and IKEv2 server says."""


def file_name(server: Server) -> str:
    """Give the name of a server's profile: country, city, protocol and number, as providers do. **Pure.**"""
    city = server.city
    return (
        f"{city.country}-{city.name[:3]}-{_SHORT[server.protocol]}-001.{_SUFFIXES[server.protocol]}".lower()
    )


def write(folder: Path, material: Material) -> None:
    """Write every profile under `folder`/profiles and every account under `folder`/secrets."""
    root = folder / "profiles"
    _write_smart(root, material)
    for server in SERVERS:
        entries = (("", server.entry[0]), ("6", server.entry[1]))
        for family, host in entries:
            place = f"{FOLDERS[server.protocol]}{family}/{file_name(server)}"
            if server.protocol == "WireGuard":
                for customer in material.customers:
                    top = root if customer == SHARED else root / "by-vantage" / customer
                    _put(top / place, _of_wireguard(material, customer, server, host))
            else:
                _put(root / place, _of_account(material, server.protocol, host, server.port))
    for name, text in faulty(material).items():
        _put(root / "faults" / name, text)
    for credential, account in material.accounts.items():
        _put(folder / "secrets" / f"{credential}.username", account.username + "\n")
        _put(folder / "secrets" / f"{credential}.password", account.password + "\n")


def smart_file_name(server: Server) -> str:
    """Give the name of its profile for customers of smart DNS. **Pure.**"""
    return file_name(server).replace("-wg-", "-smart-")


def _write_smart(root: Path, material: Material) -> None:
    (server,) = (one for one in SERVERS if one.key == SMART_OF)
    for customer, (pair, last) in material.smart.items():
        top = root if customer == SHARED else root / "by-vantage" / customer
        text = wireguard(
            pair,
            (server.inside, server.inside6, last),
            material.servers[server.key].public,
            (SMART_ENTRY[0], server.port),
            resolver=ORIGIN_ADDRESSES["smart-dns"][0],
        )
        _put(top / SMART / smart_file_name(server), text)


def faulty(material: Material) -> dict[str, str]:
    """Give the profiles of what does not work: file name → text. **Pure.**"""
    shared, last = material.customers[SHARED]
    found: dict[str, str] = {}
    for fault, host in faults.HOSTS.items():
        inside, inside6 = faults.inside(fault) if fault in faults.WIREGUARD else ("10.78.0", "fd00:78::")
        if host.wireguard:
            found[f"wg-{fault}.conf"] = wireguard(
                material.stranger if fault == "unknown-key" else shared,
                (inside, inside6, last),
                material.servers.get(fault, material.servers[BUSY]).public,
                (host.ipv4, host.wireguard),
            )
        for protocol, port in (
            ("OpenVPN-UDP", host.openvpn_udp),
            ("OpenVPN-TCP", host.openvpn_tcp),
            ("IKEv2", host.ike),
        ):
            if port:
                name = f"{FOLDERS[protocol].removeprefix('lab-')}-{_SHORT[protocol]}-{fault}"
                name = name.replace("ike-ike", "ike")
                found[f"{name}.{_SUFFIXES[protocol]}"] = _of_account(material, protocol, host.ipv4, port)
    for server in SERVERS:
        if server.protocol in {"OpenVPN-UDP", "IKEv2"}:
            short = _SHORT[server.protocol].replace("udp", "ovpn-udp")
            found[f"{short}-untrusted.{_SUFFIXES[server.protocol]}"] = _of_account(
                material, server.protocol, server.entry[0], server.port, trusted=False
            )
    return found


def wireguard(
    client: KeyPair, inside: tuple[str, str, int], server: str, at: tuple[str, int], *, resolver: str = ""
) -> str:
    """Give a WireGuard profile. **Pure.**

    Args:
        client: our keys.
        inside: the server's network: first three octets, /64 with "::", last part of our address.
        server: its public key.
        at: where it is, IPv4 or IPv6, and the port of the transport.
        resolver: its address; "" = the server itself.
    """
    v4, v6, last = inside
    host, port = at
    return "\n".join(
        (
            "[Interface]",
            f"PrivateKey = {client.private}",
            f"Address = {v4}.{last}/32, {v6}{last:x}/128",
            f"DNS = {resolver or f'{v4}.1'}",
            "",
            "[Peer]",
            f"PublicKey = {server}",
            "AllowedIPs = 0.0.0.0/0, ::/0",
            f"Endpoint = {f'[{host}]' if ':' in host else host}:{port}",
            "PersistentKeepalive = 25",
            "",
        )
    )


def openvpn(proto: str, host: str, port: int, ca: str, tls_crypt: str) -> str:
    """Give an OpenVPN profile. **Pure.**"""
    return "\n".join(
        (
            "client",
            "dev tun",
            f"proto {proto}{'6' if ':' in host else ''}",
            f"remote {host} {port}",
            "resolv-retry infinite",
            "nobind",
            "persist-key",
            "persist-tun",
            "remote-cert-tls server",
            f"verify-x509-name {IDENTITY} name",
            "data-ciphers AES-256-GCM:CHACHA20-POLY1305",
            "auth-user-pass",
            "verb 3",
            f"<ca>\n{ca}</ca>",
            f"<tls-crypt>\n{tls_crypt}</tls-crypt>",
            "",
        )
    )


def ike(host: str, port: int, ca: str) -> str:
    """Give a strongSwan profile. **Pure.**

    Args:
        host: where the server is.
        port: of the first exchange.
        ca: certificate, base64 of DER.
    """
    remote = {"addr": host, "id": IDENTITY, "cert": ca} | ({} if port == 500 else {"port": port})  # noqa: PLR2004
    profile = {
        "uuid": "5f0f2ad1-9f0e-4a5c-8d0e-1d9d6a3a2b11",
        "name": "Sonde lab",
        "type": "ikev2-eap",
        "remote": remote,
        "ike-proposal": ikev2.IKE_PROPOSAL,
        "esp-proposal": ikev2.ESP_PROPOSAL,
    }
    return json.dumps(profile, indent=2) + "\n"


def _of_wireguard(material: Material, customer: str, server: Server, host: str) -> str:
    pair, last = material.customers[customer]
    public = material.servers[server.key].public
    return wireguard(pair, (server.inside, server.inside6, last), public, (host, server.port))


def _of_account(material: Material, protocol: str, host: str, port: int, *, trusted: bool = True) -> str:
    authority = material.authority if trusted else material.other_authority
    if protocol == "IKEv2":
        return ike(host, port, _base64(authority.certificate.public_bytes(Encoding.DER)))
    return openvpn(_SHORT[protocol], host, port, authority.pem, material.tls_crypt)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    file.write_text(text)
