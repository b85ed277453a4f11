"""The options of OpenVPN, sorted: kept, known and without effect here, refused. Everything else is unknown.

What is kept is read in `openvpn`; this file only lists. An option of no list is refused with its line, so
that nothing comes through because nobody thought of it.
"""


def _options(*groups: str) -> frozenset[str]:
    return frozenset(word for group in groups for word in group.split())


HOOKS = _options(
    "up down route-up route-pre-down ipchange learn-address up-restart up-delay down-pre dns-updown iproute",
    "client-connect client-disconnect client-crresponse auth-user-pass-verify tls-verify tls-export-cert",
    "tls-crypt-v2-verify script-security setenv-safe plugin engine providers pkcs11-providers",
)
"""They run a program or load a library."""

FILES = _options(
    "config cd chroot tmp-dir writepid log log-append syslog daemon inetd status errors-to-stderr echo",
    "machine-readable-output askpass capath dh dev-node mktun rmtun genkey replay-persist",
    "client-config-dir ifconfig-pool-persist auth-gen-token-secret",
    "management management-client management-client-user management-client-group management-client-auth",
    "management-client-pf management-external-cert management-external-key management-forget-disconnect",
    "management-hold management-log-cache management-query-passwords management-query-proxy",
    "management-query-remote management-signal management-up-down",
)
"""They open files or sockets, or make another program of it."""

ELSEWHERE = _options(
    "http-proxy http-proxy-option http-proxy-retry http-proxy-user-pass socks-proxy socks-proxy-retry",
    "bind-dev mark local",
)
"""They would send the transport another way than straight to the server."""

UNSUPPORTED = {
    "secret": "static-key mode is no longer part of OpenVPN",
    "pkcs12": "put certificate and key into <cert> and <key>",
    "cryptoapicert": "put certificate and key into <cert> and <key>",
    "pkcs11-id": "put certificate and key into <cert> and <key>",
    "mode": "only a client's profile can be used",
    "server": "only a client's profile can be used",
    "server-ipv6": "only a client's profile can be used",
    "server-bridge": "only a client's profile can be used",
    "tls-server": "only a client's profile can be used",
    "ifconfig": "the server assigns the address",
    "ifconfig-ipv6": "the server assigns the address",
    "static-challenge": "nobody is there to answer it",
    "scramble": "obfuscation is not part of OpenVPN",
    "obfsproxy": "obfuscation is not part of OpenVPN",
}

IGNORED = _options(
    # a client is what this always is
    "client tls-client pull nobind bind lport float topology persist-key persist-tun persist-local-ip",
    "persist-remote-ip",
    # how hard and how long it tries: a run has a deadline of its own
    "resolv-retry connect-retry connect-retry-max connect-timeout server-poll-timeout hand-window",
    "tls-timeout remote-random remote-random-hostname single-session tls-exit auth-retry auth-nocache",
    "auth-token auth-token-user inactive ping ping-restart ping-exit ping-timer-rem keepalive",
    "explicit-exit-notify session-timeout reneg-bytes reneg-pkts tran-window",
    # what it says about itself
    "verb mute mute-replay-warnings suppress-timestamps nice push-peer-info setenv ignore-unknown-option",
    # routes and resolver of a host: a tunnel has a namespace of its own
    "route route-ipv6 route-gateway route-ipv6-gateway route-metric route-delay route-method route-nopull",
    "route-noexec ifconfig-noexec ifconfig-nowarn redirect-gateway redirect-private allow-pull-fqdn",
    "allow-recursive-routing pull-filter max-routes client-nat tun-ipv6 block-ipv6 block-local dns",
    # Windows
    "block-outside-dns register-dns dhcp-renew dhcp-release dhcp-pre-release ip-win32 tap-sleep win-sys",
    "windows-driver show-net-up pause-exit service",
    # tuning of one host's sockets, packets and processor
    "sndbuf rcvbuf socket-flags tcp-nodelay tcp-queue-limit txqueuelen fast-io multihome mtu-disc mtu-test",
    "tun-mtu-extra tun-mtu-max link-mtu max-packet-size replay-window no-replay mlock user group passtos",
    "shaper disable-dco disable-occ opt-verify",
    # of older versions
    "comp-noadapt allow-compression ncp-disable keysize prng no-iv key-method ecdh-curve ns-cert-type",
    "compat-mode compat-names tls-version-max remote-cert-ku x509-track tls-crypt-v2-max-age",
)
"""Harmless, and without effect on what is measured here."""

TAGS = {
    "ca": ("CERTIFICATE", "TRUSTED CERTIFICATE", "X509 CERTIFICATE"),
    "cert": ("CERTIFICATE", "X509 CERTIFICATE"),
    "extra-certs": ("CERTIFICATE", "X509 CERTIFICATE"),
    "crl-verify": ("X509 CRL",),
    "key": ("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY"),
    "tls-auth": ("OpenVPN Static key V1",),
    "tls-crypt": ("OpenVPN Static key V1",),
    "tls-crypt-v2": ("OpenVPN tls-crypt-v2 client key",),
}
"""Options whose value stands in the file itself, and which PEM objects it may hold."""

COMPRESSION = frozenset(
    (
        "comp-lzo",
        "comp-lzo yes",
        "comp-lzo no",
        "comp-lzo adaptive",
        "compress",
        "compress stub",
        "compress stub-v2",
        "compress lzo",
        "compress lz4",
        "compress lz4-v2",
        "compress migrate",
    )
)

PROTOS = {
    "udp": ("udp", 0),
    "udp4": ("udp", 4),
    "udp6": ("udp", 6),
    "tcp": ("tcp", 0),
    "tcp4": ("tcp", 4),
    "tcp6": ("tcp", 6),
    "tcp-client": ("tcp", 0),
    "tcp4-client": ("tcp", 4),
    "tcp6-client": ("tcp", 6),
}
"""As the file says it → (udp or tcp, family that it forces or 0)."""
