"""collector.toml: what one collector listens on, which database it writes, how long it keeps.

The file is read strictly and all mistakes are told at once (`sonde_proto.toml_config`). Plain text is taken
only from this host: an address that others can reach needs TLS (agents: with client certificates, readers:
with keys), and is refused without.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs

from sonde_collector.config_rules import (
    archive_url,
    database_url,
    endpoint_url,
    folder,
    grpc_address,
    http_address,
    http_url,
    in_folder,
    is_local,
    readable,
)
from sonde_proto.toml_config import ConfigError, between, duration_between, load, not_empty
from sonde_proto.units import Duration, Size

ENVIRONMENT = "SONDE_COLLECTOR_CONFIG"
_PLACES = (Path("collector.toml"), Path("/etc/sonde/collector.toml"))
_TLS = ("tls_cert", "tls_key", "client_ca")
_DAYS_30 = Duration(30 * 86_400.0)
_SECONDS_2 = Duration(2.0)
_SECOND, _SECONDS_10, _MINUTE, _MINUTES_5 = Duration(1.0), Duration(10.0), Duration(60.0), Duration(300.0)
_DAYS_3, _DAYS_7 = Duration(3 * 86_400.0), Duration(7 * 86_400.0)
_HOURS_2 = Duration(7200.0)
_MB_1, _MB_256, _GB_2 = Size(1_000_000), Size(256_000_000), Size(2_000_000_000)
_MB_400 = Size(400_000_000)  # of the 512 MB that an agent's spool holds by default
_DAYS_90 = Duration(90 * 86_400.0)
_DAYS_365 = Duration(365 * 86_400.0)


@attrs.frozen
class Grpc:
    """Where agents connect. With `tls_cert` every TCP address speaks TLS; unix sockets never do."""

    listen: Annotated[tuple[Annotated[str, grpc_address], ...], not_empty] = ("127.0.0.1:7443",)
    tls_cert: Annotated[Path, readable] | None = None
    tls_key: Annotated[Path, readable] | None = None
    client_ca: Annotated[Path, readable] | None = None
    connection_age: Annotated[Duration, duration_between("10s", "30d")] | None = None

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        files = [name for name in _TLS if fields.get(name) is not None]
        if not fields.keys() >= set(_TLS) or len(files) == len(_TLS):
            return
        if files:
            for name in _TLS:
                if name not in files:
                    yield name, "is required: tls_cert, tls_key and client_ca go together"
        for i, listen in enumerate(fields.get("listen", ())):
            if not is_local(listen):
                why = "can be reached from other hosts, and plain text is only for loopback"
                what = "set tls_cert, tls_key and client_ca, or listen on 127.0.0.1, [::1] or unix:/PATH"
                yield f"listen[{i}]", f'"{listen}" {why}: {what}'


@attrs.frozen
class Enroll:
    """Where agents get certificates: a port of its own, by TLS with [grpc]'s certificate alone.

    Attributes:
        ca_cert, ca_key: the authority that signs; without them nobody enrols here.
        lifetime: of an agent's certificate, which its agent renews at two thirds of it.
    """

    listen: Annotated[str, http_address] = "127.0.0.1:7444"
    ca_cert: Annotated[Path, readable] | None = None
    ca_key: Annotated[Path, readable] | None = None
    lifetime: Annotated[Duration, duration_between("10s", "400d")] = _DAYS_30

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        if fields.keys() >= {"ca_cert", "ca_key"} and (fields["ca_cert"] is None) != (
            fields["ca_key"] is None
        ):
            missing = "ca_key" if fields["ca_key"] is None else "ca_cert"
            yield missing, "is required: ca_cert and ca_key go together"


@attrs.frozen
class Http:
    """Health, metrics and the read API. With `tls_cert` it speaks HTTPS, also to other hosts."""

    listen: Annotated[str, http_address] = "127.0.0.1:7480"
    tls_cert: Annotated[Path, readable] | None = None
    tls_key: Annotated[Path, readable] | None = None

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        if not fields.keys() >= {"tls_cert", "tls_key"}:
            return
        cert, key = fields["tls_cert"], fields["tls_key"]
        if (cert is None) != (key is None):
            yield "tls_key" if key is None else "tls_cert", "is required: tls_cert and tls_key go together"
        elif cert is None and "listen" in fields and not is_local(fields["listen"]):
            listen = fields["listen"]
            why = "can be reached from other hosts, and plain text is only for loopback"
            yield "listen", f'"{listen}" {why}: set tls_cert and tls_key, or listen on 127.0.0.1 or [::1]'


@attrs.frozen
class Api:
    """The read API: who needs no key, and what all readers together may take."""

    anonymous: Literal["loopback", "never"] = "loopback"
    connections: Annotated[int, between(1, 64)] = 4
    statement_timeout: Annotated[Duration, duration_between("100ms", "60s")] = _SECONDS_2
    metrics_series: Annotated[int, between(0, 1_000_000)] = 20_000


@attrs.frozen
class Database:
    """Where everything is kept: "embedded:" or a PostgreSQL URL (15 or newer)."""

    url: Annotated[str, database_url]


@attrs.frozen
class Ingest:
    """How results are written."""

    fk_check: Literal["row", "batch"] = "row"
    writers: Annotated[int, between(1, 16)] = 2
    max_batch_rows: Annotated[int, between(100, 1_000_000)] = 20_000


@attrs.frozen
class Retention:
    """How long each tier stays in the database; None is for ever. A rollup outlives what it is made from."""

    raw: Annotated[Duration, duration_between("1d", "3650d")] = _DAYS_30
    minute: Annotated[Duration, duration_between("1d", "36500d")] = _DAYS_90
    hourly: Annotated[Duration, duration_between("1d", "36500d")] = _DAYS_365
    daily: Annotated[Duration, duration_between("1d", "36500d")] | None = None
    records: Annotated[Duration, duration_between("1d", "36500d")] = _DAYS_365


@attrs.frozen
class Archive:
    """What becomes of a partition that is past its retention, and where its file goes."""

    expired: Literal["archive", "keep", "delete"] = "archive"
    url: Annotated[str, archive_url] = ""
    endpoint: Annotated[str, endpoint_url] | None = None
    region: str | None = None
    credentials: Annotated[Path, readable] | None = None

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        if str(fields.get("url", "")).startswith("s3://"):
            return
        for name in ("endpoint", "region", "credentials"):
            if fields.get(name) is not None:
                yield name, 'belongs to S3: set url = "s3://BUCKET/PREFIX" too'


@attrs.frozen
class Partitions:
    """How the big tables are cut, and how many pieces are made ahead."""

    every: Literal["month", "week", "day"] = "month"
    ahead: Annotated[int, between(1, 60)] = 2


@attrs.frozen
class Watch:
    """Beyond which the fleet itself is in trouble, and an event tells so.

    Attributes:
        agent_silent: an agent that said nothing for so long.
        agent_clock: an agent's clock that is off by so much.
        agent_certificate: an agent's certificate that ends so soon, or in a quarter of its life if that
            is less.
        spool_age, spool_bytes: an agent whose oldest result waits so long, or whose spool holds so much.
        rejected: so many results of one agent set aside in ten minutes.
        disk_free: so little of the disk under state_dir is free, of 1.
        disk_days: it ends in so many days, as it fills.
    """

    agent_silent: Annotated[Duration, duration_between("1s", "30d")] = _MINUTES_5
    agent_clock: Annotated[Duration, duration_between("1ms", "1d")] = _SECOND
    agent_certificate: Annotated[Duration, duration_between("1m", "365d")] = _DAYS_7
    spool_age: Annotated[Duration, duration_between("1m", "365d")] = _DAYS_3
    spool_bytes: Size = _MB_400
    rejected: Annotated[int, between(1, 1_000_000_000)] = 100
    disk_free: Annotated[float, between(0, 1)] = 0.1
    disk_days: Annotated[float, between(0, 3650)] = 7.0


@attrs.frozen
class Limits:
    """What one vantage may spend, so that a stolen certificate costs the others nothing.

    What is given by the second is of each collector by itself; the others are of the fleet.

    Attributes:
        rows, bytes: results and their bytes (each with its texts) that are read, a second.
        rows_ahead, bytes_ahead: how many more may come at once after a time of rest.
        calls, calls_ahead: calls and words about itself, likewise; a call that stays counts as ten.
        streams: calls that stay, at once.
        new_streams: spools never heard of before, a day.
        rejected: bytes of results set aside, a day (UTC); then nothing is taken until it is over.
        leases: at once.
        lease_time: how long one may be renewed; more than the longest run takes.
    """

    rows: Annotated[int, between(1, 1_000_000)] = 500
    rows_ahead: Annotated[int, between(10_000, 1_000_000_000)] = 5_000_000
    bytes: Annotated[Size, between(1_000, 1e12)] = _MB_1
    bytes_ahead: Annotated[Size, between(16_000_000, 1e15)] = _GB_2
    calls: Annotated[int, between(1, 10_000)] = 20
    calls_ahead: Annotated[int, between(100, 1_000_000)] = 2_000
    streams: Annotated[int, between(4, 1_000)] = 16
    new_streams: Annotated[int, between(1, 1_000_000)] = 100
    rejected: Annotated[Size, between(100_000, 1e12)] = _MB_256
    leases: Annotated[int, between(1, 10_000)] = 100
    lease_time: Annotated[Duration, duration_between("1m", "2d")] = _HOURS_2


@attrs.frozen
class Heartbeat:
    """A URL that is called while results can be taken; none by default."""

    url: Annotated[str, http_url] | None = None
    url_file: Annotated[Path, in_folder] | None = None
    every: Annotated[Duration, duration_between("1s", "1d")] = _MINUTE
    timeout: Annotated[Duration, duration_between("100ms", "2m")] = _SECONDS_10

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        if fields.get("url") is not None and fields.get("url_file") is not None:
            yield "url_file", "can't be joined with url: choose one"


@attrs.frozen
class CollectorConfig:
    """All of collector.toml."""

    state_dir: Annotated[Path, in_folder]
    database: Database
    grpc: Grpc = Grpc()
    enroll: Enroll = Enroll()
    http: Http = Http()
    api: Api = Api()
    ingest: Ingest = Ingest()
    retention: Retention = Retention()
    archive: Archive = Archive()
    partitions: Partitions = Partitions()
    watch: Watch = Watch()
    limits: Limits = Limits()
    heartbeat: Heartbeat = Heartbeat()

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the tables must satisfy together."""
        if fields.keys() >= {"grpc", "enroll"} and fields["enroll"].ca_key and not fields["grpc"].tls_cert:
            yield "enroll.ca_key", "needs grpc.tls_cert, tls_key and client_ca: enrolment is by TLS"


def find_config(given: Path | None) -> Path:
    """Give the configuration file to read: the one given, $SONDE_COLLECTOR_CONFIG, or the first that exists.

    Raises:
        ConfigError: none was named and none is in the usual places.
    """
    if given is not None:
        return given
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    for place in _PLACES:
        if place.exists():
            return place
    places = " and ".join(str(place) for place in _PLACES)
    raise ConfigError([f"no configuration: give --config FILE or set {ENVIRONMENT}; looked for {places}"])


def load_config(path: Path) -> CollectorConfig:
    """Read `path`; relative paths in it are relative to the file's folder.

    Raises:
        ConfigError: with every mistake.
    """
    token = folder.set(path.parent)
    try:
        return load(path, CollectorConfig)
    finally:
        folder.reset(token)
