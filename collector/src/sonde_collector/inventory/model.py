"""The tables of fleet.toml: what each must satisfy in itself stands in its class."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import attrs

from sonde_collector.inventory.countries import country
from sonde_proto.toml_config import between, duration_between, not_empty
from sonde_proto.units import Duration, Size

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)
_SPACING, _WAIT = Duration(1.0), Duration(2.0)
_DNS_TYPE = re.compile(r"[A-Z0-9]{1,10}")


def _key(longest: int) -> Callable[[str], str]:
    def rule(text: str) -> str:
        if len(text) > longest:
            raise ValueError(f'must be at most {longest} characters, "{text}" has {len(text)}')
        if not _KEY.fullmatch(text):
            raise ValueError(
                f'must be letters, digits, ".", "_" and "-", beginning with a letter or digit, not "{text}"'
            )
        return text

    return rule


def _no_dot(text: str) -> str:
    if "." in text:
        raise ValueError(f'must be letters, digits, "_" and "-", not "{text}"')
    return text


def _at_most(longest: int) -> Callable[[str], str]:
    def rule(text: str) -> str:
        if not text.strip() or len(text) > longest:
            raise ValueError(f"must be 1 to {longest} characters, not {len(text)}")
        return text

    return rule


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _address(text: str) -> str:
    if not _is_address(text):
        raise ValueError(f'must be an IPv4 or IPv6 address, not "{text}"')
    return str(ipaddress.ip_address(text))


def _hostname(text: str) -> str:
    if _is_address(text) or not _NAME.fullmatch(text):
        raise ValueError(f'must be a host name, not "{text}"; an address goes into ip_address')
    return text.lower().rstrip(".")


def doubles(values: Iterable[Any]) -> list[Any]:
    """Give the values that occurred before. **Pure**."""
    seen: set[Any] = set()
    return [value for value in values if value in seen or seen.add(value)]  # type: ignore[func-returns-value]


def _no_space(text: str) -> str:
    if not text or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError("must be printable characters without a space")
    return text


def _http_url(text: str) -> str:
    try:
        url = urlsplit(text)
        good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        good = False
    if not good or any(c.isspace() for c in text):
        raise ValueError(f'must be a URL such as "https://example.com/path", not "{text}"')
    if url.username is not None or url.password is not None:
        raise ValueError("must hold no user name or password; secrets go into a file named in header_files")
    return text


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return text


def _dns_type(text: str) -> str:
    if not _DNS_TYPE.fullmatch(text):
        raise ValueError(f'must be a record type such as "A" or "AAAA", not "{text}"')
    return text


def _dns_server(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if _is_address(text) or (
        colon and _is_address(host.strip("[]")) and port.isdigit() and 0 < int(port) < 1 << 16
    ):
        return text
    raise ValueError(f'must be "ADDRESS" or "ADDRESS:PORT", not "{text}"')


Key = Annotated[str, _key(100)]
Port = Annotated[int, between(1, 65_535)]
Family = Literal[4, 6]
# "*", or keys and globs over keys.
Chosen = Literal["*"] | Annotated[tuple[Annotated[str, not_empty], ...], not_empty]


@attrs.frozen
class Vantage:
    """A place where an agent sits."""

    code: Annotated[str, _key(10), _no_dot]
    city: Annotated[str, _at_most(100)]
    country: Annotated[str, country]
    provider: Annotated[str, _at_most(50)] | None = None
    monthly_gb: Annotated[float, between(0.001, 9_999_999)] | None = None


@attrs.frozen
class Provider:
    """Who runs servers."""

    key: Annotated[str, _key(50)]
    name: Annotated[str, _at_most(50)]
    website_url: Annotated[str, _http_url] | None = None


@attrs.frozen
class Server:
    """A VPN server."""

    key: Key
    provider: str
    city: Annotated[str, _at_most(100)]
    country: Annotated[str, country]
    hostname: Annotated[str, _hostname] | None = None
    ip_address: Annotated[str, _address] | None = None
    protocols: tuple[Annotated[str, _at_most(30)], ...] | None = None

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        if fields.keys() >= {"hostname", "ip_address"} and not (fields["hostname"] or fields["ip_address"]):
            yield "hostname", "is required, or ip_address"
        for name in doubles(fields.get("protocols") or ()):
            yield "protocols", f'names "{name}" twice'


@attrs.frozen
class Expect:
    """What a target must answer to be well."""

    status: tuple[Annotated[int, between(0, 999)], ...] = ()
    body_contains: str | None = None
    body_regex: Annotated[str, _regex] | None = None
    header_regex: dict[str, Annotated[str, _regex]] = attrs.Factory(dict)
    max_total: Annotated[Duration, duration_between("1ms", "1h")] | None = None
    min_cert_days: Annotated[int, between(1, 3650)] | None = None
    answers: tuple[Annotated[str, not_empty], ...] = ()
    insecure: bool = False


@attrs.frozen
class Target:
    """An endpoint that is measured directly. Files are files on the agents."""

    key: Key
    kind: Literal["http", "tcp", "tls", "dns"]
    url: Annotated[str, _http_url] | None = None
    host: Annotated[str, _no_space] | None = None  # http: the Host header; dns: the name asked for
    port: Port | None = None
    connect_to: tuple[Annotated[str, _address], ...] = ()
    every_address: bool = False
    sni: Annotated[str, _hostname] | None = None
    method: Literal["GET", "HEAD", "POST", "PUT", "OPTIONS"] = "GET"
    header_files: dict[str, Annotated[str, not_empty]] = attrs.Factory(dict)
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    max_redirects: Annotated[int, between(0, 20)] = 0
    max_body: Annotated[Size, between(1, 100_000_000)] | None = None
    dns_server: Annotated[str, _dns_server] | None = None
    dns_type: Annotated[str, _dns_type] | None = None
    family: Family | None = None
    expect: Expect = Expect()

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        kind = fields.get("kind")
        needed = _NEEDED.get(str(kind), ())
        for name in needed:
            if name in fields and fields[name] is None:
                yield name, f'is required for kind = "{kind}"'
        host = fields.get("host")
        if (
            kind not in (None, "http")
            and host is not None
            and not (_is_address(host) or _NAME.fullmatch(host))
        ):
            yield "host", f'must be a host name or an address, not "{host}"'
        for name, kinds in _ONLY_FOR.items():
            if kind is not None and kind not in kinds and fields.get(name) not in (None, (), {}, False, 0):
                yield name, f'has no meaning for kind = "{kind}"'
        if fields.get("connect_to") and fields.get("every_address"):
            yield "every_address", "can't be joined with connect_to: choose one"
        if (fields.get("client_cert_file") is None) != (fields.get("client_key_file") is None):
            yield "client_key_file", "and client_cert_file go together"


_NEEDED: Mapping[str, tuple[str, ...]] = {
    "http": ("url",),
    "tcp": ("host", "port"),
    "tls": ("host", "port"),
    "dns": ("host",),
}
# Keys of a target that mean something for these kinds only.
_ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "url": ("http",),
    "port": ("tcp", "tls"),
    "connect_to": ("http", "tcp", "tls"),
    "every_address": ("http", "tcp", "tls"),
    "sni": ("http", "tls"),
    "header_files": ("http",),
    "ca_file": ("http", "tls"),
    "client_cert_file": ("http", "tls"),
    "max_redirects": ("http",),
    "max_body": ("http",),
    "dns_server": ("dns",),
    "dns_type": ("dns",),
}


@attrs.frozen
class PingPlan:
    """One ping run: `count` echoes, `spacing` apart, each waited for `wait` at most."""

    count: Annotated[int, between(1, 1000)] = 10
    spacing: Annotated[Duration, duration_between("10ms", "1m")] = _SPACING
    wait: Annotated[Duration, duration_between("10ms", "1m")] = _WAIT
    payload: Annotated[int, between(16, 1400)] = 16
    families: Annotated[tuple[Family, ...], not_empty] = (4,)

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        for family in doubles(fields.get("families", ())):
            yield "families", f"names {family} twice"


@attrs.frozen
class Plan:
    """Who runs what how often."""

    key: Key
    checks: Annotated[tuple[Literal["ping", "endpoint"], ...], not_empty]
    every: Annotated[Duration, duration_between("1s", "7d")]
    servers: Chosen | None = None
    targets: Chosen | None = None
    vantages: Chosen = "*"
    vantages_per_server: Annotated[int, between(1, 10_000)] | None = None
    timeout: Annotated[Duration, duration_between("100ms", "1h")] | None = None
    success: Literal["ping"] | None = None
    ping: PingPlan = PingPlan()

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        checks = fields.get("checks")
        for name in doubles(checks or ()):
            yield "checks", f'names "{name}" twice'
        if checks is None:
            return
        for check, name, what in (("ping", "servers", "servers"), ("endpoint", "targets", "targets")):
            if name in fields and check in checks and fields[name] is None:
                yield name, f'is required for checks = ["{check}"]: "*" or a list of {what}'
            if name in fields and check not in checks and fields[name] is not None:
                yield name, f'has no meaning without "{check}" in checks'
        if fields.get("success") == "ping" and "ping" not in checks:
            yield "success", 'can\'t be "ping" without "ping" in checks'
        if fields.get("vantages_per_server") is not None and "ping" not in checks:
            yield "vantages_per_server", 'has no meaning without "ping" in checks'
