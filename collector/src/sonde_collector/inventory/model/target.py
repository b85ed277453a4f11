"""[[target]]: an endpoint that is measured directly, and what it must answer."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import attrs

from sonde_collector.inventory.model import rules
from sonde_collector.inventory.model.health import TargetHealth
from sonde_collector.inventory.model.rules import NAME, Family, Key, Port
from sonde_proto.toml_config import between, duration_between, not_empty
from sonde_proto.units import Duration, Size


@attrs.frozen
class Expect:
    """What a target must answer to be well."""

    status: tuple[Annotated[int, between(0, 999)], ...] = ()
    body_contains: str | None = None
    body_regex: Annotated[str, rules.regex] | None = None
    header_regex: dict[str, Annotated[str, rules.regex]] = attrs.Factory(dict)
    max_total: Annotated[Duration, duration_between("1ms", "1h")] | None = None
    min_cert_days: Annotated[int, between(1, 3650)] | None = None
    answers: tuple[Annotated[str, not_empty], ...] = ()
    insecure: bool = False


@attrs.frozen
class Target:
    """An endpoint that is measured directly. Files are files on the agents."""

    key: Key
    kind: Literal["http", "tcp", "tls", "dns"]
    url: Annotated[str, rules.http_url] | None = None
    host: Annotated[str, rules.no_space] | None = None  # http: the Host header; dns: the name asked for
    port: Port | None = None
    connect_to: tuple[Annotated[str, rules.address], ...] = ()
    every_address: bool = False
    sni: Annotated[str, rules.hostname] | None = None
    method: Literal["GET", "HEAD", "POST", "PUT", "OPTIONS"] = "GET"
    header_files: dict[str, Annotated[str, not_empty]] = attrs.Factory(dict)
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    max_redirects: Annotated[int, between(0, 20)] = 0
    max_body: Annotated[Size, between(1, 100_000_000)] | None = None
    dns_server: Annotated[str, rules.dns_server] | None = None
    dns_type: Annotated[str, rules.dns_type] | None = None
    family: Family | None = None
    expect: Expect = Expect()
    health: TargetHealth = attrs.Factory(TargetHealth)

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
            and not (rules.is_address(host) or NAME.fullmatch(host))
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
