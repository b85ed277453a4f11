"""OpenVPN servers: user name and password, no client certificate, tls-crypt."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from sonde_lab import compiler
from sonde_lab.programs import Programs

DEVICE = "tun0"
_READY = "Initialization Sequence Completed"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One server.

    Attributes:
        key: its name; also of its files.
        netns: where it stands.
        proto: "udp" or "tcp"; on IPv4 and IPv6.
        port: of the transport.
        inside: the first three octets of its network inside; .1 is the server.
        inside6: its /64, up to and with "::".
        ca, certificate, private_key: PEM.
        tls_crypt: a static key, as OpenVPN writes it.
    """

    key: str
    netns: str
    proto: str
    port: int
    inside: str
    inside6: str
    ca: str
    certificate: str
    private_key: str = field(repr=False)
    tls_crypt: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Books:
    """The provider's files.

    Attributes:
        users: lines "NAME PASSWORD".
        sessions: gets a line for each login and its end.
    """

    users: Path
    sessions: Path


def static_key() -> str:
    """Make a key for tls-crypt, as `openvpn --genkey` does."""
    text = secrets.token_hex(256)
    lines = "\n".join(text[at : at + 32] for at in range(0, len(text), 32))
    return f"-----BEGIN OpenVPN Static key V1-----\n{lines}\n-----END OpenVPN Static key V1-----\n"


def configuration(endpoint: Endpoint, hooks: str) -> str:
    """Give a server's configuration. **Pure.**

    Args:
        endpoint: the server.
        hooks: the lines that say who may log in.
    """
    tcp = endpoint.proto == "tcp"
    lines = (
        f"proto {'tcp6-server' if tcp else 'udp6'}",
        f"port {endpoint.port}",
        # Else a small packet waits for the acknowledgement of the one before: 40 ms of every handshake.
        *(
            ("socket-flags TCP_NODELAY", 'push "socket-flags TCP_NODELAY"')
            if tcp
            else ("explicit-exit-notify 1",)
        ),
        f"dev {DEVICE}",
        "dev-type tun",
        "multihome",  # it answers from the address that it was asked at
        "disable-dco",
        "topology subnet",
        f"server {endpoint.inside}.0 255.255.255.0",
        f"server-ipv6 {endpoint.inside6}/64",
        'push "redirect-gateway def1 ipv6 bypass-dhcp"',
        f'push "dhcp-option DNS {endpoint.inside}.1"',
        "keepalive 3 8",  # a client that vanished is gone after 16 s
        "dh none",
        "data-ciphers AES-256-GCM:CHACHA20-POLY1305",
        "tls-version-min 1.2",
        "verify-client-cert none",
        "username-as-common-name",
        "duplicate-cn",
        "txqueuelen 1000",
        "verb 3",
        hooks,
    )
    blocks = {
        "ca": endpoint.ca,
        "cert": endpoint.certificate,
        "key": endpoint.private_key,
        "tls-crypt": endpoint.tls_crypt,
    }
    return "\n".join((*lines, *(f"<{tag}>\n{text}</{tag}>" for tag, text in blocks.items()), ""))


def hooks(folder: Path, books: Books) -> str:
    """Give the lines that say who may log in: a plugin where a C compiler is, else scripts.

    "{key}" in them stands for the server's name.

    Args:
        folder: for what is compiled.
        books: what decides, and what is written.
    """
    here = Path(__file__)
    built = compiler.build(here.with_name("openvpn_accounts.c"), folder, "-shared", "-fPIC")
    words = f"{books.users} {books.sessions} {{key}}"
    if built is not None:
        return f"plugin {built} {words}"
    script = f'"/bin/sh {here.with_name("openvpn_accounts.sh")} {words}"'
    return "\n".join(
        (
            "script-security 3",
            f"auth-user-pass-verify {script} via-env",
            f"client-connect {script}",
            f"client-disconnect {script}",
        )
    )


def start(endpoint: Endpoint, folder: Path, hooks: str, programs: Programs) -> None:
    """Start a server; `wait` tells when it serves.

    Args:
        endpoint: the server.
        folder: for its configuration.
        hooks: what `hooks` gave.
        programs: takes it.
    """
    file = folder / f"{endpoint.key}.conf"
    file.touch(mode=0o600)
    file.write_text(configuration(endpoint, hooks.format(key=endpoint.key)))
    programs.start(endpoint.key, endpoint.netns, ["openvpn", "--config", file])


def wait(endpoint: Endpoint, programs: Programs) -> None:
    """Return when it serves.

    Raises:
        LabError: it does not.
    """
    programs.wait(lambda: _READY in programs.said(endpoint.key), name=endpoint.key)
