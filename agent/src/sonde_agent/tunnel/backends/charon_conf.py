"""A profile's allow-listed fields as charon's settings, and the messages that make its connection. **Pure.**

Source: strongSwan's strongswan.conf(5), and README.md of its vici plugin (5.9).
"""

from pathlib import Path
from typing import Any

from sonde_agent.net.peer import Peer
from sonde_agent.tunnel.backends.uplink import IKE_PORT, NAT_PORT, own_ports
from sonde_proto.profiles import Ike

CONNECTION, CHILD, DEVICE = "sonde", "all", "ipsec0"

_PLUGINS = (
    "random nonce openssl pem pkcs1 pkcs8 x509 pubkey constraints kdf hmac sha1 sha2 aes gcm md5 drbg "
    "curve25519 gmp chapoly kernel-libipsec kernel-netlink socket-default resolve vici eap-identity "
    "eap-mschapv2 eap-md5"
)
"""kernel-libipsec before kernel-netlink: the first that offers ESP does it, here in the process itself."""

_UNUSED_MARK = "0x77"
_ESP_OVERHEAD = 73  # SPI and number 8, IV 16, padding 15, trailer 2, ICV up to 32
_IP_UDP = {4: 28, 6: 48}
_END = "-----END CERTIFICATE-----"


def settings_text(folder: Path) -> str:
    """Give strongswan.conf of a charon whose files all lie in `folder`.

    Its own route for the tunnel looks at a mark that no packet has, so it needs none around the server; and
    it ignores what happens to its device, which leaves for the box.
    """
    return f"""charon-systemd {{
  load = {_PLUGINS}
  port = {IKE_PORT}
  port_nat_t = {NAT_PORT}
  install_virtual_ip = yes
  install_virtual_ip_on = {DEVICE}
  install_routes = yes
  follow_redirects = no
  retransmit_timeout = 1.0
  retransmit_base = 1.5
  retransmit_tries = 8
  keep_alive = 20s
  journal {{
    default = -1
  }}
  plugins {{
    vici {{
      socket = unix://{folder}/charon.vici
    }}
    kernel-libipsec {{
      load = yes
    }}
    kernel-netlink {{
      fwmark = {_UNUSED_MARK}
      roam_events = no
    }}
    resolve {{
      file = {folder}/resolvers
      resolvconf {{
        path = {folder}/none
        iface_prefix = none
      }}
    }}
  }}
}}
"""


def connection(settings: Ike, peer: Peer, *, local: str, username: str) -> dict[str, Any]:
    """Give the message `load-conn` for the connection `CONNECTION` with its child `CHILD`.

    Args:
        settings: what the provider's file says.
        peer: the server.
        local: charon's address in its namespace.
        username: the account's.
    """
    eap_id = settings.eap_id or username
    child: dict[str, Any] = {
        "remote_ts": ["0.0.0.0/0", "::/0"],
        "close_action": "none",
        "dpd_action": "clear",
    }
    if settings.esp_proposal:
        child["esp_proposals"] = [settings.esp_proposal]
    message: dict[str, Any] = {
        "version": "2",
        "local_addrs": [local],
        "remote_addrs": [peer.address],
        "local_port": str(own_ports(peer)[peer.port]),
        "remote_port": str(peer.port),
        "vips": ["0.0.0.0", "::"],  # noqa: S104 -- any address that the server assigns
        "encap": "yes",
        "mobike": "no",
        "fragmentation": "yes",
        "keyingtries": "1",
        "dpd_delay": "10s",
        "local": {"auth": "eap", "eap_id": eap_id, "id": settings.local_id or eap_id},
        "remote": {"auth": "pubkey", "id": settings.remote_id},
        "children": {CHILD: child},
    }
    if settings.ike_proposal:
        message["proposals"] = [settings.ike_proposal]
    return {CONNECTION: message}


def believes_anybody(settings: Ike) -> bool:
    """Whether charon would take the remote identity for a pattern: "%any", "*.example"."""
    return settings.remote_id.startswith("%") or "*" in settings.remote_id


def password(settings: Ike, username: str, secret: str) -> dict[str, Any]:
    """Give the message `load-shared` for the account."""
    return {"type": "EAP", "data": secret, "owners": [settings.eap_id or username]}


def certificates(pem: str) -> list[dict[str, Any]]:
    """Give a message `load-cert` for each authority in `pem`."""
    parts = [part + _END for part in pem.split(_END)[:-1]]
    return [{"type": "X509", "flag": "CA", "data": part[part.index("-----BEGIN") :]} for part in parts]


def device_mtu(settings: Ike, peer: Peer, route_mtu: int) -> int:
    """Give the MTU of the device at which no packet of the transport is fragmented [bytes]."""
    return settings.mtu or route_mtu - _IP_UDP[peer.family] - _ESP_OVERHEAD
