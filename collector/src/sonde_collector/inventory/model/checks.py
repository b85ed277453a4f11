"""[plan.ping], [plan.connection], [plan.throughput], [plan.unlock]: how a check is run."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import attrs

from sonde_collector.inventory.model.rules import (
    Chosen,
    Family,
    Slug,
    doubles,
    http_url,
    is_address,
    no_space,
)
from sonde_proto.toml_config import between, duration_between, not_empty
from sonde_proto.units import Duration, Size

_SPACING, _WAIT = Duration(1.0), Duration(2.0)
_HANDSHAKE = Duration(15.0)  # a lost WireGuard initiation is repeated after 5 s: room for two of them
_MEASURED = Duration(8.0)
_MAX_BYTES = Size(10**9)


def _host_port(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not colon or not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ValueError(f'must be "HOST:PORT", not "{text}"')
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in bare and (bare == host or not is_address(bare)):
        raise ValueError(f'must be "[ADDRESS]:PORT" for IPv6, not "{text}"')
    return no_space(text)


def _some_url(text: str) -> str:
    http_url(text.replace("{host}", "host"))
    return text


def _plain_url(text: str) -> str:
    """Be a rule: an http URL; agents ask for the exit before anything else, without TLS."""
    if http_url(text).startswith("https:"):
        raise ValueError(f'must be a plain http:// URL, not "{text}"')
    return text


@attrs.frozen
class PingPlan:
    """One ping run: `count` echoes, `spacing` apart, each waited for `wait` at most.

    Attributes:
        host: what is pinged inside a tunnel; None = the tunnel's gateway.
    """

    count: Annotated[int, between(1, 1000)] = 10
    spacing: Annotated[Duration, duration_between("10ms", "1m")] = _SPACING
    wait: Annotated[Duration, duration_between("10ms", "1m")] = _WAIT
    payload: Annotated[int, between(16, 1400)] = 16
    families: Annotated[tuple[Family, ...], not_empty] = (4,)
    host: Annotated[str, no_space] | None = None

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        for family in doubles(fields.get("families", ())):
            yield "families", f"names {family} twice"


@attrs.frozen
class ConnectionPlan:
    """One tunnel.

    Attributes:
        handshake_timeout: the longest from start to an address in the tunnel.
        handshake_only: a probe that needs no privilege and makes no tunnel.
        exit_url: plain HTTP, answers with the caller's address in plain text; None = nobody notices a leak.
        family: of the transport; None = what the server has.
    """

    handshake_timeout: Annotated[Duration, duration_between("1s", "2m")] = _HANDSHAKE
    handshake_only: bool = False
    exit_url: Annotated[str, _plain_url] | None = None
    family: Family | None = None


@attrs.frozen
class ThroughputPlan:
    """One throughput run.

    Attributes:
        url: http: what is downloaded; ndt7: the service. "{host}" is the server's name or address.
        upload_url: http: where it is uploaded to; None = download alone.
        server: iperf3: "HOST:PORT".
        download, upload: which directions; of http only those that have a URL.
        seconds: measured time of a direction, its ramp-up not counted.
        max_bytes: a run, both directions: it ends there.
        direct: the baseline beside a tunnel run is measured too.
        ca_file: on the agents: PEM of a private CA.
    """

    engine: Literal["http", "iperf3", "speedtest", "ndt7"] = "http"
    url: Annotated[str, _some_url] | None = None
    upload_url: Annotated[str, _some_url] | None = None
    server: Annotated[str, _host_port] | None = None
    download: bool = True
    upload: bool = True
    seconds: Annotated[Duration, duration_between("1s", "60s")] = _MEASURED
    streams: Annotated[int, between(1, 64)] = 4
    max_bytes: Annotated[Size, between(100_000, 10**12)] = _MAX_BYTES
    rate_cap_mbps: Annotated[int, between(1, 100_000)] | None = None
    direct: bool = True
    family: Family | None = None
    ca_file: str | None = None

    @property
    def asked(self) -> str | None:
        """Where it goes, as the plan writes it; None where the engine chooses."""
        return self.server if self.engine == "iperf3" else self.url or self.upload_url

    @property
    def directions(self) -> tuple[bool, bool]:
        """Whether it downloads, and whether it uploads."""
        if self.engine == "http":
            return self.download and self.url is not None, self.upload and self.upload_url is not None
        return self.download, self.upload

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        engine = fields.get("engine")
        for name, engines in _FOR.items():
            if engine is not None and engine not in engines and fields.get(name) is not None:
                yield name, f'has no meaning for engine = "{engine}"'
        if fields.get("download") is False and fields.get("upload") is False:
            yield "download", "and upload can't both be false"


@attrs.frozen
class UnlockPlan:
    """Unlock checks, through tunnels or directly.

    Attributes:
        platforms: slugs of rules, or "enabled": those that are shipped and on. A rule that is off is named.
        families: a check for each.
        canary: "direct": the vantages ask directly, too; or which of the plan's servers are known good.
            Without one nobody can tell a stale rule from a blocked exit.
        fast: no real platform is asked, as in a lab: runs may come close together.
    """

    platforms: Literal["enabled"] | Annotated[tuple[Slug, ...], not_empty] | None = None
    families: Annotated[tuple[Family, ...], not_empty] = (4,)
    canary: Literal["direct"] | Annotated[tuple[Annotated[str, not_empty], ...], not_empty] | None = None
    fast: bool = False

    @property
    def canary_servers(self) -> Chosen | None:
        """Which servers are known good; None = none are named."""
        return None if self.canary == "direct" else self.canary

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        for name in ("platforms", "families"):
            values = fields.get(name)
            for value in doubles(values if isinstance(values, tuple) else ()):
                yield name, f"names {value} twice" if name == "families" else f'names "{value}" twice'


_FOR: Mapping[str, tuple[str, ...]] = {
    "url": ("http", "ndt7"),
    "upload_url": ("http",),
    "server": ("iperf3",),
    "ca_file": ("http", "ndt7"),
}
