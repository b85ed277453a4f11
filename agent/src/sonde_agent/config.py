"""agent.toml: its model, its defaults, and what each key must satisfy."""

import base64
import binascii
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import attrs

from sonde_agent.blocks import Block, target_rule
from sonde_agent.limits import Limits
from sonde_proto import toml_config
from sonde_proto.toml_config import FromText, between, duration_between, existing_file, not_empty
from sonde_proto.units import Duration, Size, parse_duration, parse_size

CONFIG_VARIABLE = "SONDE_AGENT_CONFIG"
CONFIG_PLACES = (Path("agent.toml"), Path("/etc/sonde/agent.toml"))

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_VANTAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,9}")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_HIGHEST_PORT = 65535
_KEY_BYTES = 32
_LONGEST_SOCKET_PATH = 107  # sun_path of Linux, without its closing NUL


def split_address(text: str) -> tuple[str, int]:
    """Give host and port of "host:port", "192.0.2.1:port" or "[2001:db8::1]:port". Pure.

    Raises:
        ValueError: it is none of these.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not (colon and port.isascii() and port.isdigit() and 1 <= int(port) <= _HIGHEST_PORT):
        raise ValueError(f'must be "host:port" with a port of 1 to {_HIGHEST_PORT}, not "{text}"')
    try:
        is_ipv6, is_name = ipaddress.ip_address(host).version == 6, False  # noqa: PLR2004 -- IPv6
    except ValueError:
        is_ipv6, is_name = False, True
    if bracketed != is_ipv6 or (is_name and not _HOST.fullmatch(host)):
        raise ValueError(f'must be "host:port", an IPv6 address in brackets: "[::1]:7443"; not "{text}"')
    return host, int(port)


def is_loopback(host: str) -> bool:
    """Whether nothing that is sent to `host` can leave this machine. Pure."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _collector(text: str) -> str:
    if not text.startswith("unix:"):
        split_address(text)
    elif not text.startswith("unix:/") or len(text.encode()) - len("unix:") > _LONGEST_SOCKET_PATH:
        raise ValueError(
            f'must name a socket by an absolute path of at most {_LONGEST_SOCKET_PATH} bytes, not "{text}"'
        )
    return text


def vantage_rule(text: str) -> str:
    """Be a rule: the code of a vantage."""
    if not _VANTAGE.fullmatch(text):
        raise ValueError(
            f'must be 1 to 10 of a-z A-Z 0-9 - _, beginning with a letter or digit, not "{text}"'
        )
    return text


def proxy_rule(text: str) -> str:
    """Be a rule: a proxy that knows CONNECT, or "" for none."""
    parts = urlsplit(text)
    if "@" in parts.netloc:
        raise ValueError("must hold no user or password: this file is no place for secrets")
    if text and (parts.scheme != "http" or not parts.netloc or parts.path not in ("", "/")):
        raise ValueError(f'must be "http://host:port", not "{text}"')
    return text


def _metrics(text: str) -> str:
    if text and not is_loopback(split_address(text)[0]):
        raise ValueError(
            f'must be on loopback, such as "127.0.0.1:7481", because it is plain text without a password; '
            f'not "{text}"'
        )
    return text


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f'must be a network such as "10.0.0.0/8" or "2001:db8::/32": {error}') from None


def _resolver(text: str) -> str:
    if text:
        try:
            ipaddress.ip_address(text)
        except ValueError:
            raise ValueError(f'must be an address, or "" for none, not "{text}"') from None
    return text


def _host_name(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError(f'must be a host name, not "{text}"')
    return text


def rule_key(text: str) -> str:
    """Be a rule: a public key that signs packs of rules, "ed25519:BASE64" of its 32 bytes."""
    kind, _, encoded = text.partition(":")
    try:
        key = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        key = b""
    if kind != "ed25519" or len(key) != _KEY_BYTES:
        raise ValueError(f'must be "ed25519:" and 32 bytes in base64, as `rules key` prints it; not "{text}"')
    return text


def writable_directory(path: Path) -> Path:
    """Be a rule: a directory that this user may write to, or may make."""
    if path.is_dir():
        if os.access(path, os.W_OK | os.X_OK):
            return path
        raise ValueError(f"may not be written by this user: {path}")
    if path.exists():
        raise ValueError(f"is not a directory: {path}")
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not (above.is_dir() and os.access(above, os.W_OK | os.X_OK)):
        raise ValueError(f"does not exist, and this user may not make it: {path}")
    return path


def _enroll(text: str) -> str:
    split_address(text)
    return text


@attrs.frozen
class Tls:
    """Who the collector must be, and who we are: PEM files."""

    ca: Annotated[Path, existing_file]
    cert: Annotated[Path, existing_file]
    key: Annotated[Path, existing_file]
    enroll: Annotated[str, _enroll] | None = None
    """host:port where `sonde-agent enroll` got them and the agent renews them; None = a person does."""


@attrs.frozen
class SpoolBounds:
    """How much the spool may hold."""

    max_bytes: Size = attrs.field(factory=lambda: parse_size("512MB"))
    """The whole file, acked history included; the oldest is dropped first, and a gap is recorded."""
    max_age: Annotated[Duration, duration_between("1m", "365d")] = attrs.field(
        factory=lambda: parse_duration("14d")
    )
    history: Annotated[Duration, duration_between("0s", "365d")] = attrs.field(
        factory=lambda: parse_duration("48h")
    )
    """How long acked results stay, for `export` and for a collector restored from a backup."""

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Say what is wrong among the fields."""
        if fields.get("max_bytes", _LEAST_SPOOL) < _LEAST_SPOOL:
            yield "max_bytes", 'must be at least "256KiB"'


_LEAST_SPOOL = parse_size("256KiB")


@attrs.frozen
class Tunnels:
    """How tunnels are opened."""

    helper: str = "/run/sonde/helper.sock"
    """Socket of the tunnel helper."""
    backends: tuple[Literal["wireguard-kernel", "wireguard-go", "openvpn", "ikev2"], ...] = ()
    """The only ones to use, the first that this host can use of each protocol; empty = the best."""


@attrs.frozen
class Credential:
    """An account at a provider: where this host keeps its profiles and what proves who we are."""

    profiles: Path | None = None
    """The folder of its profiles; a task names a file in it."""
    template: Path | None = None
    """A profile that is completed with a server out of the collector's list."""
    username_file: Path | None = None
    password_file: Path | None = None


@attrs.frozen
class PolicyRules:
    """What the collector may have this agent do. See `sonde_agent.policy`."""

    checks: tuple[Literal["ping", "endpoint", "connection", "throughput", "unlock"], ...] = (
        "ping",
        "endpoint",
        "connection",
        "throughput",
        "unlock",
    )
    """Unlock is among them because it asks nothing until a key below signs what it may ask."""
    deny: tuple[Annotated[Network, FromText(_network)], ...] = ()
    """Besides the networks that are denied anyway (`sonde_agent.policy.DENIED`)."""
    allow: tuple[Annotated[Network, FromText(_network)], ...] = ()
    """Wins over deny and over what is denied anyway."""
    deny_targets: tuple[Annotated[str, not_empty, target_rule], ...] = ()
    """Target keys, host names, "*.domain" for all below it, networks, or slugs of unlock rules: never."""
    block: tuple[Block, ...] = ()
    """The same with a reason, and where wanted an end."""
    ports: tuple[Annotated[int, between(1, _HIGHEST_PORT)], ...] = ()
    """The only ports that may be connected to; empty = all."""
    files: tuple[Path, ...] = ()
    """Directories whose files a task may name: header values, client certificates, private CAs."""
    engines: tuple[Literal["http", "iperf3", "ndt7", "speedtest"], ...] = ("http", "iperf3", "ndt7")
    """Of throughput. "speedtest" is a program that connects where it likes: nothing here could hold it."""
    rule_keys: tuple[Annotated[str, rule_key], ...] = ()
    """Who may write unlock rules for this agent: a pack signed by none of these is refused."""


@attrs.frozen
class Unlock:
    """Where unlock rules are on this host, and what they need of it."""

    pack: Path = Path("/etc/sonde/unlock.pack")
    """Read again when it changes."""
    secrets: Path = Path("/etc/sonde/unlock-secrets")
    """The folder with a file SLUG.NAME for each secret that a rule asks for."""
    trusted_resolver: Annotated[str, _resolver] = "1.1.1.1"
    """Asked by DNS over TLS how an exit comes to unlock; "" = that is not measured."""
    trusted_resolver_name: Annotated[str, _host_name] = "one.one.one.one"
    """What its certificate is for."""
    ca_file: Path | None = None
    """PEM of certificate authorities besides the system's: for labs."""


@attrs.frozen
class AgentConfig:
    """agent.toml."""

    collector: Annotated[str, _collector]
    """host:port, or unix:/path."""
    vantage: Annotated[str, vantage_rule]
    state_dir: Annotated[Path, writable_directory] = Path("/var/lib/sonde-agent")
    tls: Tls | None = None
    """None = plain text, which only loopback allows."""
    proxy: Annotated[str, proxy_rule] = ""
    metrics: Annotated[str, _metrics] = "127.0.0.1:7481"
    """Where /metrics and /healthz listen; "" = nowhere."""
    spool: SpoolBounds = attrs.field(factory=SpoolBounds)
    limits: Limits = attrs.field(factory=Limits)
    policy: PolicyRules = attrs.field(factory=PolicyRules)
    tunnels: Tunnels = attrs.field(factory=Tunnels)
    credential: dict[str, Credential] = attrs.field(factory=dict)
    unlock: Unlock = attrs.field(factory=Unlock)

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """Say what is wrong among the fields."""
        tls: Tls | None = fields.get("tls")
        if tls is not None and tls.enroll and "state_dir" in fields:
            where = fields["state_dir"].absolute() / "identity"
            if tls.cert.parent.absolute() != where:
                yield (
                    "tls.enroll",
                    f"renews what is in {where}, and tls.cert is elsewhere: leave it out, or enrol",
                )
        collector: str | None = fields.get("collector")
        if collector is None or "tls" not in fields or fields["tls"] is not None:
            return
        if not collector.startswith("unix:") and not is_loopback(split_address(collector)[0]):
            reason = (
                f"{collector} is not on this machine, and plain text never leaves it: "
                "add a [tls] table with ca, cert and key (`sonde-agent enroll` makes them)"
            )
            yield "collector", reason


def find(given: Path | None, environ: Mapping[str, str] = os.environ) -> Path:
    """Give the path of the configuration file: `given`, $SONDE_AGENT_CONFIG, or the first that exists.

    Raises:
        ConfigError: nothing is given and nothing is found.
    """
    if given is not None:
        return given
    if environ.get(CONFIG_VARIABLE):
        return Path(environ[CONFIG_VARIABLE])
    for place in CONFIG_PLACES:
        if place.is_file():
            return place
    places = " or ".join(str(place) for place in CONFIG_PLACES)
    raise toml_config.ConfigError(
        [f"no configuration file: give --config FILE, set ${CONFIG_VARIABLE}, or make {places}"]
    )


def load(path: Path) -> AgentConfig:
    """Read agent.toml at `path`.

    Raises:
        ConfigError: with every mistake, each with its key.
    """
    return toml_config.load(path, AgentConfig)


def spool_path(config: AgentConfig) -> Path:
    """Where the spool is."""
    return config.state_dir / "spool.sqlite"
