"""collector.toml: what one collector listens on, which database it writes, how long it keeps.

The file is read strictly and all mistakes are told at once (`sonde_proto.toml_config`). Plain text is taken
only from this host: an address that others can reach needs TLS (agents: with client certificates, readers:
with keys), and is refused without.
"""

import ipaddress
import os
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import attrs

from sonde_proto.toml_config import ConfigError, between, duration_between, load, not_empty
from sonde_proto.units import Duration, Size

ENVIRONMENT = "SONDE_COLLECTOR_CONFIG"
_PLACES = (Path("collector.toml"), Path("/etc/sonde/collector.toml"))
_LAST_PORT = 65_535
_TLS = ("tls_cert", "tls_key", "client_ca")
_DAYS_30 = Duration(30 * 86_400.0)
_SECONDS_2 = Duration(2.0)
_SECOND, _SECONDS_10, _MINUTE, _MINUTES_5 = Duration(1.0), Duration(10.0), Duration(60.0), Duration(300.0)
_DAYS_3 = Duration(3 * 86_400.0)
_MB_400 = Size(400_000_000)  # of the 512 MB that an agent's spool holds by default
_DAYS_90 = Duration(90 * 86_400.0)
_DAYS_365 = Duration(365 * 86_400.0)

# The folder of the file being read: relative paths in it start there, not where a command happens to be run.
_folder: ContextVar[Path] = ContextVar("folder")


def split_address(text: str) -> tuple[str, int]:
    """Give host and port of "HOST:PORT" or "[IPv6]:PORT". **Pure**.

    Raises:
        ValueError: `text` is no such address; the message says how to write one.
    """
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    bare_ipv6 = ":" in host and f"[{host}]" not in text
    if (
        not colon
        or not host
        or bare_ipv6
        or not (port.isascii() and port.isdigit())
        or int(port) > _LAST_PORT
    ):
        raise ValueError(f'must be "ADDRESS:PORT" such as "127.0.0.1:7443" or "[::1]:7443", not "{text}"')
    return host, int(port)


def is_local(listen: str) -> bool:
    """Tell whether only this host can reach `listen`: a loopback address or a unix socket. **Pure**."""
    if listen.startswith("unix:"):
        return True
    host, _ = split_address(listen)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _grpc_address(text: str) -> str:
    if text.startswith("unix:"):
        if not text.removeprefix("unix:").startswith("/"):
            raise ValueError(
                f'must name an absolute path, such as "unix:/run/sonde/collector.sock", not "{text}"'
            )
        return text
    split_address(text)
    return text


def _http_address(text: str) -> str:
    if text.startswith("unix:"):
        raise ValueError(f'must be "ADDRESS:PORT" such as "127.0.0.1:7480", not "{text}"')
    split_address(text)
    return text


def _database_url(text: str) -> str:
    if text == "embedded:":
        return text
    try:
        scheme = urlsplit(text).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("postgresql", "postgres"):
        raise ValueError('must be "embedded:" or "postgresql://USER@HOST:PORT/DATABASE"')
    return text


def _http_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError('must be a URL such as "https://example.com/path"')
    return text


def _archive_url(text: str) -> str:
    if text.startswith("s3://"):
        bucket = text.removeprefix("s3://").partition("/")[0]
        if not bucket or "@" in text or "?" in text:
            raise ValueError(
                f'must be "s3://BUCKET" or "s3://BUCKET/PREFIX", not "{text}": endpoint, region and '
                "credentials are keys of their own"
            )
        return text.rstrip("/")
    if "://" in text:
        raise ValueError(f'must be a folder, or "s3://BUCKET/PREFIX", not "{text}"')
    return str(_in_folder(Path(text))) if text else text


def _endpoint(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.path.strip("/")
    except ValueError:
        good = False
    if not good:
        raise ValueError(f'must be "https://HOST" or "https://HOST:PORT", not "{text}"')
    return text.rstrip("/")


def _in_folder(path: Path) -> Path:
    return (_folder.get(Path()) / path).absolute()


def _readable(path: Path) -> Path:
    path = _in_folder(path)
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ValueError(f'must be a file that can be read; "{path}" is not')
    return path


@attrs.frozen
class Grpc:
    """Where agents connect. With `tls_cert` every TCP address speaks TLS; unix sockets never do."""

    listen: Annotated[tuple[Annotated[str, _grpc_address], ...], not_empty] = ("127.0.0.1:7443",)
    tls_cert: Annotated[Path, _readable] | None = None
    tls_key: Annotated[Path, _readable] | None = None
    client_ca: Annotated[Path, _readable] | None = None

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
class Http:
    """Health, metrics and the read API. With `tls_cert` it speaks HTTPS, also to other hosts."""

    listen: Annotated[str, _http_address] = "127.0.0.1:7480"
    tls_cert: Annotated[Path, _readable] | None = None
    tls_key: Annotated[Path, _readable] | None = None

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

    url: Annotated[str, _database_url]


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
    url: Annotated[str, _archive_url] = ""
    endpoint: Annotated[str, _endpoint] | None = None
    region: str | None = None
    credentials: Annotated[Path, _readable] | None = None

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
        spool_age, spool_bytes: an agent whose oldest result waits so long, or whose spool holds so much.
        rejected: so many results of one agent set aside in ten minutes.
        disk_free: so little of the disk under state_dir is free, of 1.
        disk_days: it ends in so many days, as it fills.
    """

    agent_silent: Annotated[Duration, duration_between("1s", "30d")] = _MINUTES_5
    agent_clock: Annotated[Duration, duration_between("1ms", "1d")] = _SECOND
    spool_age: Annotated[Duration, duration_between("1m", "365d")] = _DAYS_3
    spool_bytes: Size = _MB_400
    rejected: Annotated[int, between(1, 1_000_000_000)] = 100
    disk_free: Annotated[float, between(0, 1)] = 0.1
    disk_days: Annotated[float, between(0, 3650)] = 7.0


@attrs.frozen
class Heartbeat:
    """A URL that is called while results can be taken; none by default."""

    url: Annotated[str, _http_url] | None = None
    url_file: Annotated[Path, _in_folder] | None = None
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

    state_dir: Annotated[Path, _in_folder]
    database: Database
    grpc: Grpc = Grpc()
    http: Http = Http()
    api: Api = Api()
    ingest: Ingest = Ingest()
    retention: Retention = Retention()
    archive: Archive = Archive()
    partitions: Partitions = Partitions()
    watch: Watch = Watch()
    heartbeat: Heartbeat = Heartbeat()


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
    token = _folder.set(path.parent)
    try:
        return load(path, CollectorConfig)
    finally:
        _folder.reset(token)
