"""What a task names: hosts and ports that it speaks to, and files whose content would leave. **Pure.**"""

from collections.abc import Iterator
from pathlib import PurePath
from urllib.parse import urlsplit

from sonde_agent.addresses import parse_address
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

Place = tuple[str, int | None]
"""Name or address, and port; None = no port (ICMP), or one that is not known yet."""

_DNS_PORT, _IPERF3_PORT = 53, 5201
_DEFAULT_PORTS = {"http": 80, "https": 443}
_NDT7_PORTS = {"ws": 80, "wss": 443, **_DEFAULT_PORTS}


def places(task: control_pb2.Task) -> Iterator[Place]:
    """Give every host and port that `task` names, but not those of tasks inside it.

    Raises:
        ValueError: it names none where it has to.
    """
    match task.WhichOneof("spec"):
        case "ping":
            yield _host(task.ping.host), None
        case "endpoint":
            yield from _of_endpoint(task.endpoint)
        case "throughput":
            yield from _of_throughput(task.throughput)
        case "connection":
            yield from _of_connection(task.connection)


def files(task: control_pb2.Task) -> Iterator[PurePath]:
    """Give every file that a run of `task` would open.

    Of a CA nothing leaves, but whether it can be read does; and opening a pipe never ends.
    """
    spec = task.endpoint
    named = (*spec.header_files.values(), spec.client_cert_file, spec.client_key_file, spec.ca_file)
    for file in (*named, task.throughput.ca_file):
        if file:
            yield PurePath(file)


def _of_connection(spec: control_pb2.ConnectionSpec) -> Iterator[Place]:
    """The profile's own server is not known here: the helper judges it, and the check its address."""
    if spec.HasField("place"):
        yield _host(spec.place.host), spec.place.port or None
    if spec.direct_host:
        yield _host(spec.direct_host), None
    if spec.exit_url:
        yield _of_url(spec.exit_url, {"http": 80})


def _of_throughput(spec: control_pb2.ThroughputSpec) -> Iterator[Place]:
    match spec.engine:
        case pb.ENGINE_IPERF3:
            yield _split(spec.server, _IPERF3_PORT)
        case pb.ENGINE_NDT7:
            yield _of_url(spec.url, _NDT7_PORTS)
        case pb.ENGINE_HTTP | pb.ENGINE_UNSPECIFIED:
            for url in filter(None, (spec.url, spec.upload_url)):
                yield _of_url(url, _DEFAULT_PORTS)


def _of_url(url: str, ports: dict[str, int]) -> tuple[str, int]:
    parts = urlsplit(url)
    if parts.scheme not in ports:
        raise ValueError(f'"{url}" is no {" or ".join(f"{scheme}://" for scheme in ports)} URL')
    return _host(parts.hostname or ""), parts.port or ports[parts.scheme]


def _of_endpoint(spec: control_pb2.EndpointSpec) -> Iterator[Place]:
    """Give every host and port that `spec` names; ValueError where it names none."""
    if spec.kind == pb.ENDPOINT_KIND_DNS:
        yield _host(spec.url), None
        if spec.dns_server:
            host, port = _split(spec.dns_server, _DNS_PORT)
            yield host, port
        return
    if spec.kind == pb.ENDPOINT_KIND_HTTP:
        host, port = _of_url(spec.url, _DEFAULT_PORTS)
        yield host, port
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
