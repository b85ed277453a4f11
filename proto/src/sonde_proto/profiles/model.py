"""What a provider's file says, as far as it is allowed to say it: frozen models and the mistakes of a file.

A profile holds nothing that names a program, a path or a line of a configuration. Whatever a model's field
holds was checked against that field's own alphabet; so it can be written into a configuration of ours.
"""

from attrs import field, frozen

PROTOCOLS = ("WireGuard", "OpenVPN-UDP", "OpenVPN-TCP", "IKEv2")

MOST_MISTAKES = 20
"""Told of one file; a person mends the first ones anyway. A reader stops one after it."""


@frozen
class Mistake:
    """One thing in a file that can't be.

    Attributes:
        line: counted from 1; 0 = the file as a whole.
        reason: what is wrong and what to do, in words; never holds a secret of the file.
    """

    line: int
    reason: str


class ProfileError(ValueError):
    """A file can't be used as a profile.

    Attributes:
        name: of the file.
        mistakes: those that were found, in the file's order, at least one.
    """

    def __init__(self, name: str, mistakes: list[Mistake]) -> None:
        super().__init__(name, mistakes)
        self.name = name
        self.mistakes = mistakes

    def __str__(self) -> str:
        """One line for each mistake: "NAME:LINE: reason", or "NAME: reason" for the file as a whole."""
        name = "".join(char if char.isprintable() else "?" for char in self.name)
        shown = [
            f"{name}:{mistake.line}: {mistake.reason}" if mistake.line else f"{name}: {mistake.reason}"
            for mistake in self.mistakes[:MOST_MISTAKES]
        ]
        more = len(self.mistakes) > MOST_MISTAKES
        return "\n".join([*shown, f"{name}: and more"] if more else shown)


@frozen
class WireGuard:
    """A `wg-quick` file: one interface, one peer.

    Attributes:
        private_key: ours, 32 bytes; None = the file has none, so no handshake is possible with it.
        addresses: ours inside, with prefix length ("10.2.0.2/32"), at least one.
        dns: addresses of resolvers inside.
        mtu: of the device [bytes]; None = the transport's minus WireGuard's overhead.
        public_key: the server's, 32 bytes.
        preshared_key: 32 bytes, or None.
        allowed_ips: networks that go through the tunnel, at least one.
        keepalive: [s], or None.
    """

    private_key: bytes | None = field(repr=False)
    addresses: tuple[str, ...]
    dns: tuple[str, ...]
    mtu: int | None
    public_key: bytes = field(repr=False)
    preshared_key: bytes | None = field(repr=False)
    allowed_ips: tuple[str, ...]
    keepalive: int | None


@frozen
class Remote:
    """Where an OpenVPN profile connects to.

    Attributes:
        host: address or name.
        port: 1..65535.
        proto: "udp" or "tcp".
        family: 4 or 6 where the file forces it ("udp4", "tcp6-client"), else 0.
    """

    host: str
    port: int
    proto: str
    family: int = 0


@frozen
class OpenVpn:
    """An `.ovpn` file of a client. What is "" or () was not said.

    Attributes:
        remotes: at least one, all of one proto, in the file's order.
        ca, cert, extra_certs, crl: PEM.
        key: of our certificate, PEM.
        tls_auth, tls_crypt: OpenVPN static key, PEM.
        tls_crypt_v2: OpenVPN tls-crypt-v2 client key, PEM.
        key_direction: "0", "1" or "": of `tls_auth`.
        cipher, data_ciphers, data_ciphers_fallback, auth: OpenVPN's names of algorithms.
        tls_version_min, tls_cipher, tls_ciphersuites, tls_groups, tls_cert_profile: of the control channel.
        verify_x509_name: (name, type), type "subject", "name" or "name-prefix"; () = none.
        remote_cert_tls: "server" or "".
        wants_user_pass: it asks for an account's user name and password.
        compression: how packets are framed: "", or a whole allow-listed "comp-lzo …" or "compress …".
        dns: resolvers inside that the file itself names; the server's push has more.
        tun_mtu, mssfix, fragment: [bytes], or None; `mssfix` 0 = off.
        reneg_sec: [s], or None.
    """

    remotes: tuple[Remote, ...]
    ca: str = field(default="", repr=False)
    cert: str = field(default="", repr=False)
    extra_certs: str = field(default="", repr=False)
    crl: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    tls_auth: str = field(default="", repr=False)
    tls_crypt: str = field(default="", repr=False)
    tls_crypt_v2: str = field(default="", repr=False)
    key_direction: str = ""
    cipher: str = ""
    data_ciphers: str = ""
    data_ciphers_fallback: str = ""
    auth: str = ""
    tls_version_min: str = ""
    tls_cipher: str = ""
    tls_ciphersuites: str = ""
    tls_groups: str = ""
    tls_cert_profile: str = ""
    verify_x509_name: tuple[str, ...] = ()
    remote_cert_tls: str = ""
    wants_user_pass: bool = False
    compression: str = ""
    dns: tuple[str, ...] = ()
    tun_mtu: int | None = None
    mssfix: int | None = None
    fragment: int | None = None
    reneg_sec: int | None = None


@frozen
class Ike:
    """A strongSwan profile (`.sswan`) for EAP with a user name and password.

    Attributes:
        remote_id: who the server must prove to be; the host where the file names none.
        ca: PEM of what its certificate is checked with; "" = the system's authorities.
        eap_id: user name, or "": the account's.
        local_id: IKE identity of ours, or "": the user name.
        method: "eap": whatever EAP method the server asks for that takes a password.
        ike_proposal, esp_proposal: in strongSwan's words ("aes256-sha256-modp2048"), or "": its defaults.
        dns: resolvers inside that the file itself names.
        mtu: of the device [bytes], or None.
    """

    remote_id: str
    ca: str = field(default="", repr=False)
    eap_id: str = ""
    local_id: str = ""
    method: str = "eap"
    ike_proposal: str = ""
    esp_proposal: str = ""
    dns: tuple[str, ...] = ()
    mtu: int | None = None


@frozen
class Profile:
    """One way to one server.

    Attributes:
        protocol: one of `PROTOCOLS`: the name in table protocols.
        host: address or name of the server.
        port: 1..65535.
        settings: what the protocol needs beyond that.
    """

    protocol: str
    host: str
    port: int
    settings: WireGuard | OpenVpn | Ike
