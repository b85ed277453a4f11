"""An IKEv2 server of a test's own (charon), and the profile that fits it."""

import base64
import json
import socket
import ssl
from typing import Any

from support.edges import Authority
from support.programs import eventually
from support.vpn_wire import PROVIDER, PROVIDER6, Wire
from vici.session import Session

USER, PASSWORD = "probe", "pass wörd#"
NAME = "vpn.example"
_PLUGINS = (
    "random nonce openssl curve25519 pem pkcs1 pkcs8 x509 pubkey constraints kdf hmac sha1 sha2 aes gcm md5 "
    "gmp drbg kernel-libipsec kernel-netlink socket-default vici eap-identity eap-mschapv2 eap-md5"
)


class IkeServer:
    """A server on the provider's side of a wire.

    Args:
        at: the wire.
        authority: who signs its certificate.
        days: for which its certificate is valid; below 0 = it ended so long ago.
        eap: the method that it asks for.
        proposal, esp_proposal: what it agrees to.
        pools: from which it assigns addresses.
        settings: further lines of strongswan.conf.
    """

    def __init__(
        self,
        at: Wire,
        authority: Authority,
        *,
        days: int = 30,
        eap: str = "mschapv2",
        proposal: str = "aes256gcm16-prfsha256-curve25519",
        esp_proposal: str = "aes256gcm16",
        pools: tuple[str, ...] = ("10.7.0.0/24", "fd07::/120"),
        settings: str = "",
    ) -> None:
        self.authority = authority
        self._path = at.folder / "srv.vici"
        conf = at.folder / "strongswan.conf"
        conf.write_text(
            f"charon-systemd {{\n load = {_PLUGINS}\n journal {{\n default = -1\n }}\n"
            f" filelog {{\n stderr {{\n default = 1\n }}\n }}\n {settings}\n"  # stdout would be held back
            f" plugins {{\n vici {{\n socket = unix://{self._path}\n }}\n"
            " kernel-libipsec {\n load = yes\n }\n }\n}\n"
        )
        self.log = at.serve("charon-systemd", log="ike.log", env={"STRONGSWAN_CONF": str(conf)})
        eventually(self._path.exists, 20, self.said)
        certificate, key = authority.leaf(NAME, days=days)
        self._order("load-key", {"type": "any", "data": key.read_text()})
        self._order("load-shared", {"type": "EAP", "data": PASSWORD, "owners": [USER]})
        for number, addresses in enumerate(pools):
            pool: dict[str, Any] = {"addrs": addresses}
            if number == 0:
                pool["dns"] = ["10.7.0.53"]
            self._order("load-pool", {f"p{number}": pool})
        child = {"local_ts": ["0.0.0.0/0", "::/0"], "esp_proposals": [esp_proposal]}
        self._order(
            "load-conn",
            {
                "s": {
                    "version": "2",
                    "local_addrs": [PROVIDER, PROVIDER6],
                    "local": {"auth": "pubkey", "certs": [certificate.read_text()], "id": NAME},
                    "remote": {"auth": f"eap-{eap}", "eap_id": "%any"},
                    "pools": [f"p{number}" for number in range(len(pools))],
                    "proposals": [proposal],
                    "children": {"net": child},
                }
            },
        )

    def said(self) -> str:
        """What it logged so far."""
        return self.log.read_text(errors="replace")

    def terminate(self) -> None:
        """Ends all connections from its side."""
        with self._session() as session:
            list(session.terminate({"ike": "s", "timeout": "1000"}))

    def _order(self, command: str, message: dict[str, Any]) -> None:
        with self._session() as session:
            session.request(command, message)

    def _session(self) -> "_Session":
        return _Session(str(self._path))


class _Session:
    """A vici session for a while."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)

    def __enter__(self) -> Session:
        return Session(self._socket)

    def __exit__(self, *_error: object) -> None:
        self._socket.close()


def ike_profile(
    authority: Authority, host: str = PROVIDER, remote_id: str = NAME, **more: Any
) -> dict[str, str]:
    """The orders for a tunnel: profile, account."""
    der = ssl.PEM_cert_to_DER_cert(authority.file.read_text())
    remote = {"addr": host, "id": remote_id, "cert": base64.b64encode(der).decode()}
    profile = {"uuid": "0", "name": "lab", "type": "ikev2-eap", "remote": remote, **more}
    return {"name": "lab.sswan", "profile": json.dumps(profile), "username": USER, "password": PASSWORD}
