"""What a source lists: servers, and the ways to them. Frozen models; no secret is in them."""

import attrs


@attrs.frozen
class Way:
    """One protocol to one server, as far as the collector may know it.

    Attributes:
        protocol: as in table protocols.
        credential: whose account is used.
        profile: name of the file in the credential's folder on the agents; of a list the template's, or ""
            for the template that the credential names.
        host: address or name to connect to.
        port: None = the template's.
        public_key: the server's, base64; WireGuard.
        certificate: hex SHA-256, 16 digits, of what the server's certificate is checked with; OpenVPN, IKEv2.
        server_name: the name in that certificate, where a list tells it.
        placed: it comes from a list: the template is placed at host and port.
        own_key: a digest that tells our WireGuard keys apart while costs are counted; kept nowhere.
    """

    protocol: str
    credential: str
    profile: str
    host: str
    port: int | None
    public_key: str = ""
    certificate: str = ""
    server_name: str = ""
    placed: bool = False
    own_key: bytes = attrs.field(default=b"", repr=False, eq=False)


@attrs.frozen
class Listed:
    """What a source says of one server by one protocol.

    Attributes:
        provider: its key.
        origin: the file, or list and entry, for messages.
        name: what the server's key is made of: the file's name without suffix, or the list's name for it.
        country, city: None where nothing tells them; `unplaced` says why then.
        hostname, address: at least one.
    """

    provider: str
    origin: str
    name: str
    country: str | None
    city: str | None
    hostname: str | None
    address: str | None
    way: Way
    unplaced: str = ""

    @property
    def identity(self) -> tuple[str, str]:
        """What tells servers of a source apart: the provider, and the name or else the address."""
        return self.provider, self.hostname or self.address or ""


@attrs.frozen
class Reading:
    """All that a source says.

    Attributes:
        provider: its key.
        account: key of the account.
        path: as the fleet file has it.
        listed: in the order of names.
        bad: one line for each mistake: "FILE:LINE: reason".
        other: names in a folder that are no profiles.
    """

    provider: str
    account: str
    path: str
    listed: tuple[Listed, ...]
    bad: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
