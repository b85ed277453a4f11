"""IKEv2 servers: strongSwan with its ESP in user space, EAP-MSCHAPv2, one charon for each.

usage: python -m sonde_lab.vpn_servers.ikev2 SETTINGS

SETTINGS is a JSON file. Tells charon what to serve, then keeps the provider's book of who came and went.
"""

import json
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import vici

from sonde_lab.programs import Programs
from sonde_lab.vpn_servers.openvpn import Books

DEVICE = "ipsec0"
"""As kernel-libipsec names it."""
IKE_PROPOSAL = "aes256gcm16-prfsha256-curve25519"
ESP_PROPOSAL = "aes256gcm16-curve25519"
_CHARON = """\
charon-systemd {{
  load = random nonce openssl curve25519 pem pkcs1 pkcs8 x509 pubkey constraints kdf hmac sha1 sha2 md5 aes \
gcm kernel-libipsec kernel-netlink socket-default vici eap-identity eap-mschapv2 drbg
  install_routes = yes
  cookie_threshold = 0
  cookie_threshold_ip = 0
  block_threshold = 100000
  retransmit_base = 1.4
  retransmit_timeout = 1.0
  retransmit_tries = 3
  syslog {{
    daemon {{ default = -1 }}
    auth {{ default = -1 }}
  }}
  journal {{ default = -1 }}
  filelog {{ stderr {{ default = 1 }} }}
  plugins {{
    vici {{ socket = unix://{socket} }}
    kernel-libipsec {{ load = yes }}
    kernel-netlink {{ mtu = 1400 }}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Gateway:
    """One server.

    Attributes:
        key: its name; also of its files.
        netns: where it stands.
        identity: what its certificate says.
        inside: the first three octets of its network inside; .1 is the server.
        inside6: its /64, up to and with "::".
        certificate, private_key: PEM.
        users: name → password.
    """

    key: str
    netns: str
    identity: str
    inside: str
    inside6: str
    certificate: str
    private_key: str = field(repr=False)
    users: Mapping[str, str] = field(repr=False)


def connection(gateway: Gateway) -> dict[str, Any]:
    """Give the connection as vici's `load_conn` takes it. **Pure.**"""
    return {
        gateway.key: {
            "version": "2",
            "local_addrs": ["%any"],
            "local": {"auth": "pubkey", "certs": [gateway.certificate], "id": gateway.identity},
            "remote": {"auth": "eap-mschapv2", "eap_id": "%any"},
            "pools": ["v4", "v6"],
            "send_cert": "always",
            "unique": "never",
            "mobike": "no",
            "dpd_delay": "5s",
            "proposals": [IKE_PROPOSAL, "aes256-sha256-modp2048", "default"],
            "children": {
                "net": {
                    "local_ts": ["0.0.0.0/0", "::/0"],
                    "esp_proposals": [ESP_PROPOSAL, "aes256-sha256", "default"],
                }
            },
        }
    }


def start(gateway: Gateway, folder: Path, books: Books, programs: Programs) -> None:
    """Start charon and the program that instructs it; `wait` tells when it serves.

    Args:
        gateway: the server.
        folder: for its configuration.
        books: of the provider.
        programs: takes both.
    """
    control = f"/run/lab/{gateway.key}.vici"
    conf, settings = folder / f"{gateway.key}.conf", folder / f"{gateway.key}.json"
    conf.write_text(_CHARON.format(socket=control))
    settings.touch(mode=0o600)
    settings.write_text(
        json.dumps({"control": control, "sessions": str(books.sessions), "gateway": asdict(gateway)})
    )
    programs.start(gateway.key, gateway.netns, ["charon-systemd"], env={"STRONGSWAN_CONF": str(conf)})
    programs.start(
        _book(gateway), gateway.netns, [sys.executable, "-m", "sonde_lab.vpn_servers.ikev2", settings]
    )


def wait(gateway: Gateway, programs: Programs) -> None:
    """Return when it serves.

    Raises:
        LabError: it does not.
    """
    programs.wait(lambda: "ready" in programs.said(_book(gateway)), name=_book(gateway))


def _book(gateway: Gateway) -> str:
    return f"{gateway.key}-book"


def _session(control: str) -> vici.Session:
    """Connect to charon's socket, which comes up soon after charon."""
    deadline = time.monotonic() + 10
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(control)
        except OSError:
            sock.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return vici.Session(sock)


def _instruct(session: vici.Session, gateway: Gateway) -> None:
    session.load_cert({"type": "X509", "flag": "NONE", "data": gateway.certificate})
    session.load_key({"type": "any", "data": gateway.private_key})
    for name, password in gateway.users.items():
        session.load_shared({"id": name, "type": "EAP", "data": password, "owners": [name]})
    session.load_pool(
        {"v4": {"addrs": f"{gateway.inside}.10-{gateway.inside}.250", "dns": [f"{gateway.inside}.1"]}}
    )
    session.load_pool({"v6": {"addrs": f"{gateway.inside6}100-{gateway.inside6}1ff"}})
    session.load_conn(connection(gateway))


def main(settings: dict[str, Any]) -> None:
    """Instruct charon, say "ready", and note who comes and goes until charon ends."""
    gateway = Gateway(**settings["gateway"])
    _instruct(_session(settings["control"]), gateway)
    with Path(settings["sessions"]).open("a", buffering=1) as book:
        print("ready", flush=True)
        for _, event in _session(settings["control"]).listen(["ike-updown"]):
            what = "connect" if event.get("up") == b"yes" else "disconnect"
            for sa in (value for value in event.values() if isinstance(value, dict)):
                name = (sa.get("remote-eap-id") or sa.get("remote-id") or b"?").decode(errors="replace")
                book.write(f"{time.time():.6f} {gateway.key} {what} {name}\n")


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
