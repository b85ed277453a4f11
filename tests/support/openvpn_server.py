"""An OpenVPN server of a test's own, and the profile that fits it."""

import subprocess
from pathlib import Path

from support.edges import Authority
from support.programs import eventually
from support.vpn_wire import PROVIDER, Wire

USER, PASSWORD = "probe", 'pass "wo\\rd#'
NAME = "vpn.example"
_VERIFY = f"""#!/bin/sh
# The first line is the user, the second the password.
[ "$(head -n 1 "$1")" = '{USER}' ] && [ "$(tail -n 1 "$1")" = '{PASSWORD}' ]
"""


class OpenVpnServer:
    """A server on the provider's side of a wire.

    Args:
        at: the wire.
        authority: who signs its certificate.
        proto: "udp" or "tcp".
        port: where.
        days: for which its certificate is valid; below 0 = it ended so long ago.
        options: further lines of its configuration.
        addresses: whether it assigns any.
    """

    def __init__(
        self,
        at: Wire,
        authority: Authority,
        *,
        proto: str = "udp",
        port: int = 1194,
        days: int = 30,
        options: str = "",
        addresses: bool = True,
    ) -> None:
        self.proto, self.port, self.authority = proto, port, authority
        folder = at.folder / f"{proto}{port}"
        folder.mkdir()
        self.static = folder / "tls-crypt.key"
        subprocess.run(["openvpn", "--genkey", "secret", str(self.static)], check=True, capture_output=True)
        certificate, key = authority.leaf(NAME, days=days)
        verify = folder / "verify"
        verify.write_text(_VERIFY)
        verify.chmod(0o755)
        net = port % 200
        server = f"server 10.8.{net}.0 255.255.255.0\nserver-ipv6 fd08:{net}::/64"
        lines = [
            "dev-type tun",
            f"dev srv{port}",
            f"proto {proto}6{'-server' if proto == 'tcp' else ''}",
            f"port {port}",
            server if addresses else "mode server\ntls-server\nifconfig-noexec",
            "topology subnet",
            "dh none",
            f"ca {authority.file}\ncert {certificate}\nkey {key}",
            f"tls-crypt {self.static}",
            "verify-client-cert none\nusername-as-common-name",
            f"script-security 2\nauth-user-pass-verify {verify} via-file",
            'push "dhcp-option DNS 10.8.0.53"',
            "keepalive 1 4",
            "verb 3",
            *(["socket-flags TCP_NODELAY"] if proto == "tcp" else []),
            options,
        ]
        conf = folder / "server.conf"
        conf.write_text("\n".join(lines) + "\n")
        self.log = at.serve("openvpn", "--config", str(conf), log=f"{proto}{port}.log")
        eventually(lambda: "Initialization Sequence Completed" in self.said(), 20, self.said)

    def said(self) -> str:
        """What it logged so far."""
        return self.log.read_text(errors="replace")

    def profile(self, host: str = PROVIDER, *, static: Path | None = None, extra: str = "") -> dict[str, str]:
        """The orders for a tunnel to it: profile, account."""
        text = openvpn_profile(
            host, self.port, self.proto, self.authority, static or self.static, extra=extra
        )
        return {"name": "lab.ovpn", "profile": text, "username": USER, "password": PASSWORD}


def openvpn_profile(
    host: str, port: int, proto: str, authority: Authority, static: Path | None, *, extra: str = ""
) -> str:
    """The text of a provider's file."""
    crypt = f"<tls-crypt>\n{static.read_text()}</tls-crypt>\n" if static else ""
    return (
        f"client\ndev tun\nproto {proto}\nremote {host} {port}\nverify-x509-name {NAME} name\n"
        f"auth-user-pass\n{extra}\n<ca>\n{authority.file.read_text()}</ca>\n{crypt}"
    )
