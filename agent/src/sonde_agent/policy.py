"""What this agent may touch, whatever the collector asks: a pure judgement of names, addresses, ports, files.

A task is judged twice. As assigned (`refuse_task`): kind of check, target, every name, port and file that it
names; what is refused is not scheduled, and is told to the collector. And at the last moment
(`refuse_address`, which a check asks just before its first packet): the address itself, because what a name
resolves to is not ours to trust. A refused task or address is never a fault of the target.

An address is judged in every shape in which it could reach a host: 127.1, 0x7f000001 and ::ffff:127.0.0.1 are
127.0.0.1, and an IPv4 address inside a NAT64 or 6to4 address is judged too.
"""

import ipaddress
from collections.abc import Iterator
from pathlib import PurePath
from urllib.parse import urlsplit

from sonde_agent.config import Network, PolicyRules
from sonde_proto.v1 import control_pb2, results_pb2

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

DENIED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # "this host": Linux connects to itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata services of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarking of devices
        "224.0.0.0/4",
        "240.0.0.0/4",  # reserved, and broadcast
        "::/128",
        "::1/128",
        "64:ff9b:1::/48",  # NAT64 of a local network: hides private IPv4
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
"""Not measured unless `policy.allow` names it: this host, private, link-local, shared networks, multicast."""

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_DNS_PORT = 53
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Policy:
    """The local rules, ready to judge. Pure."""

    def __init__(self, rules: PolicyRules) -> None:
        self._rules = rules
        self._deny = (*DENIED, *rules.deny)
        self._names: set[str] = set()
        self._suffixes: list[str] = []
        self._never: list[Network] = []
        for entry in rules.deny_targets:
            name = entry.rstrip(".").lower()
            network = _network(name)
            if network is not None:
                self._never.append(network)
            elif name.startswith("*."):
                self._suffixes.append(name[1:])
            else:
                self._names.add(name)

    def refuse_task(self, task: control_pb2.Task) -> str | None:
        """Why this agent will not run `task`, in words; None = it may.

        A name passes here whatever it resolves to: `refuse_address` judges that.
        """
        kind = task.WhichOneof("spec")
        if kind is None:
            return "this agent is too old for this kind of check"
        if kind not in self._rules.checks:
            return f'policy.checks does not hold "{kind}"'
        if self._is_named(task.target):
            return f'policy.deny_targets holds "{task.target}"'
        try:
            places = list(_ping_places(task.ping) if kind == "ping" else _endpoint_places(task.endpoint))
        except ValueError as error:
            return f"names no target that can be measured: {error}"
        refusals = [self._refuse_host(host, port) for host, port in places]
        refusals += [self._refuse_file(file) for file in _files(task.endpoint)]
        return next((reason for reason in refusals if reason is not None), None)

    def refuse_address(self, address: str, port: int | None) -> str | None:
        """Why nothing may be sent to `address` and `port` (None for ICMP), in words; None = it may."""
        parsed = parse_address(address)
        if parsed is None:
            return f'"{address}" is not an address'
        if port is not None and self._rules.ports and port not in self._rules.ports:
            return f"policy.ports does not hold {port}"
        for face in faces(parsed):
            if any(face in network for network in self._never):
                return f"policy.deny_targets holds a network of {face}"
            if any(face in network for network in self._rules.allow):
                continue
            for network in self._deny:
                if face in network:
                    return f"{face} is in {network}, which policy.deny or the built-in list denies"
        return None

    def _refuse_host(self, host: str, port: int | None) -> str | None:
        if parse_address(host) is not None:
            return self.refuse_address(host, port)
        if self._is_named(host):
            return f'policy.deny_targets holds "{host}"'
        if port is not None and self._rules.ports and port not in self._rules.ports:
            return f"policy.ports does not hold {port}"
        return None

    def _refuse_file(self, file: PurePath) -> str | None:
        if any(_is_below(file, directory) for directory in self._rules.files):
            return None
        return f"policy.files holds no directory of {file}"

    def _is_named(self, name: str) -> bool:
        name = name.rstrip(".").lower()
        return name in self._names or any(name.endswith(suffix) for suffix in self._suffixes)


def parse_address(text: str) -> Address | None:
    """Give the address that `text` spells in any way that a resolver would take as one; None = a name."""
    text = text.rstrip(".").partition("%")[0]
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return _inet_aton(text)


def faces(address: Address) -> Iterator[Address]:
    """Give every address that a packet to `address` may end at: itself, and the IPv4 address inside it."""
    if not isinstance(address, ipaddress.IPv6Address):
        yield address
        return
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _inet_aton(text: str) -> ipaddress.IPv4Address | None:
    """The numeric spellings that getaddrinfo() takes: 127.1, 0x7f.1, 0177.1, 2130706433."""
    parts = text.split(".")
    if len(parts) > 4:  # noqa: PLR2004 -- bytes of an IPv4 address
        return None
    value = 0
    for i, part in enumerate(parts):
        number = _number(part)
        is_last = i == len(parts) - 1
        if number is None or number >= 256 ** (5 - len(parts) if is_last else 1):
            return None
        value = value * (256 ** (5 - len(parts)) if is_last else 256) + number
    return ipaddress.IPv4Address(value)


def _number(text: str) -> int | None:
    if not (text.isascii() and text[:1].isdigit()):
        return None
    try:
        if text[:2].lower() == "0x":
            return int(text[2:] or "0", 16)
        return int(text, 8 if text.startswith("0") else 10)
    except ValueError:
        return None


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        address = parse_address(text)
        return None if address is None else ipaddress.ip_network(address)


def _ping_places(spec: control_pb2.PingSpec) -> Iterator[tuple[str, int | None]]:
    yield _host(spec.host), None


def _endpoint_places(spec: control_pb2.EndpointSpec) -> Iterator[tuple[str, int | None]]:
    """Give every host and port that `spec` names; ValueError where it names none."""
    if spec.kind == results_pb2.ENDPOINT_KIND_DNS:
        yield _host(spec.url), None
        if spec.dns_server:
            host, port = _split(spec.dns_server, _DNS_PORT)
            yield host, port
        return
    if spec.kind == results_pb2.ENDPOINT_KIND_HTTP:
        parts = urlsplit(spec.url)
        if parts.scheme not in _DEFAULT_PORTS:
            raise ValueError(f'"{spec.url}" is no http:// or https:// URL')
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        yield _host(parts.hostname or ""), port
    else:
        host, port = _split(spec.url, 0)
        yield host, port
    for address in spec.connect_to:
        yield _split(address, port)
    for name in (spec.sni, spec.host.rpartition(":")[0] or spec.host):
        if name and parse_address(name) is None:
            yield name, None


def _split(text: str, default: int) -> tuple[str, int]:
    """Give host and port of "host:port", "[v6]:port", or of a bare host or address with the default port."""
    if parse_address(text) is not None:
        return text, default
    parts = urlsplit(f"//{text}")
    port = parts.port if parts.port is not None else default
    if not port:
        raise ValueError(f'"{text}" names no port')
    return _host(parts.hostname or ""), port


def _host(text: str) -> str:
    """Give `text` in ASCII as a resolver would ask for it; what normalises to an address becomes one."""
    try:
        host = text if text.isascii() else text.encode("idna").decode()
    except UnicodeError:
        host = ""
    if not host or any(character.isspace() or character in "/@?#\\" for character in host):
        raise ValueError(f'"{text}" is no host name')
    return host


def _files(spec: control_pb2.EndpointSpec) -> Iterator[PurePath]:
    """Files whose content would reach the other side, or speak for this host. A CA is neither."""
    for file in (*spec.header_files.values(), spec.client_cert_file, spec.client_key_file):
        if file:
            yield PurePath(file)


def _is_below(file: PurePath, directory: PurePath) -> bool:
    return ".." not in file.parts and file.is_relative_to(directory)
