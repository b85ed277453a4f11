"""A profile's allow-listed fields as the configuration of one OpenVPN process. **Pure.**

Nothing of a provider's file gets here as a line: each line below is ours, with a value that the profile's
reader checked against its own alphabet.
"""

import math
from pathlib import Path

from sonde_agent.net.peer import Peer
from sonde_proto.profiles import OpenVpn

_MODERN = "AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305"
_NEWER = "disable-dco tls-groups providers data-ciphers data-ciphers-fallback allow-compression"

_IP_UDP = {4: 28, 6: 48}
_AEAD = 24  # opcode and peer 4, packet id 4, tag 16
_CBC = 40  # opcode and peer 4, IV 16, packet id 4, padding up to 16
_DIGESTS = {"SHA1": 20, "SHA256": 32, "SHA384": 48, "SHA512": 64}


def config_text(settings: OpenVpn, peer: Peer, *, device: str, management: Path | str, seconds: float) -> str:
    """Give the text of a configuration that connects once and touches nothing of the host.

    Args:
        settings: what the provider's file says.
        peer: where to; the name is resolved already.
        device: name of the tun to make, or "null": the handshake alone, which needs no privilege.
        management: unix socket on which we listen.
        seconds: in which it has to be up.
    """
    udp = settings.remotes[0].proto == "udp"
    patience = max(math.ceil(seconds), 1) + 1  # its clock has whole seconds: our deadline comes first
    lines = [
        "client",
        f"ignore-unknown-option {_NEWER}",
        "disable-dco",
        f"dev {device}",
        *(["dev-type tun"] if device != "null" else []),
        f"remote {peer.address} {peer.port}",
        f"proto {'udp' if udp else 'tcp'}{peer.family}{'' if udp else '-client'}",
        "nobind",
        # The namespace's device, addresses and routes are our own work; no program is ever run.
        "ifconfig-noexec",
        "route-noexec",
        "script-security 0",
        # One attempt: what it meets is the result.
        "resolv-retry 0",
        "connect-retry-max 1",
        "auth-retry none",
        f"connect-timeout {patience}",
        f"hand-window {patience}",
        # The account's session ends with us. TCP ends by itself.
        "explicit-exit-notify 1" if udp else "socket-flags TCP_NODELAY",
        "verb 3",
        "machine-readable-output",
        "mute-replay-warnings",
        f'management "{management}" unix',
        "management-client",
        "management-hold",
        "management-query-passwords",
        *_trust(settings),
        *_channel(settings),
    ]
    return "\n".join(lines) + "\n"


def device_mtu(settings: OpenVpn, peer: Peer, route_mtu: int, *, pushed: int | None, cipher: str) -> int:
    """Give the MTU of the device at which no packet of the transport is fragmented [bytes].

    Args:
        settings: what the provider's file says.
        peer: the transport's other end.
        route_mtu: of the host's route to it.
        pushed: what the server asks for, or None.
        cipher: of the data channel as the server pushed it; "" = the profile's.
    """
    wanted = pushed or settings.tun_mtu or 1500
    if settings.remotes[0].proto != "udp" or settings.fragment:
        return wanted
    name = (cipher or settings.cipher or "AES-256-GCM").upper()
    if name.endswith(("GCM", "POLY1305")):
        overhead = _AEAD
    else:
        overhead = _CBC + _DIGESTS.get(settings.auth.upper() or "SHA1", max(_DIGESTS.values()))
    return min(wanted, route_mtu - _IP_UDP[peer.family] - overhead - bool(settings.compression))


def _trust(settings: OpenVpn) -> list[str]:
    """Who is believed, and who we are."""
    lines = []
    for tag, pem in (
        ("ca", settings.ca),
        ("cert", settings.cert),
        ("extra-certs", settings.extra_certs),
        ("key", settings.key),
        ("crl-verify", settings.crl),
        ("tls-auth", settings.tls_auth),
        ("tls-crypt", settings.tls_crypt),
        ("tls-crypt-v2", settings.tls_crypt_v2),
    ):
        if pem:
            lines += [f"<{tag}>", pem.rstrip("\n"), f"</{tag}>"]
    if settings.key_direction:
        lines.append(f"key-direction {settings.key_direction}")
    if settings.verify_x509_name:
        name, kind = settings.verify_x509_name
        lines.append(f'verify-x509-name "{name}" {kind}')
    if settings.remote_cert_tls:
        lines.append(f"remote-cert-tls {settings.remote_cert_tls}")
    if settings.wants_user_pass:
        lines.append("auth-user-pass")
    return lines


def _channel(settings: OpenVpn) -> list[str]:
    """How packets are encrypted and framed."""
    ciphers = settings.data_ciphers or (f"{_MODERN}:{settings.cipher}" if settings.cipher else "")
    lines = [
        f"{option} {value}"
        for option, value in (
            ("data-ciphers", ciphers),
            ("data-ciphers-fallback", settings.data_ciphers_fallback or settings.cipher),
            ("auth", settings.auth),
            ("tls-version-min", settings.tls_version_min),
            ("tls-cipher", settings.tls_cipher),
            ("tls-ciphersuites", settings.tls_ciphersuites),
            ("tls-groups", settings.tls_groups),
            ("tls-cert-profile", settings.tls_cert_profile),
            ("tun-mtu", settings.tun_mtu),
            ("mssfix", settings.mssfix),
            ("fragment", settings.fragment),
            ("reneg-sec", settings.reneg_sec),
        )
        if value not in ("", None)
    ]
    if settings.compression:
        # Asymmetric: what the server compresses is read, what we send is not compressed.
        lines += ["allow-compression asym", settings.compression]
    return lines
