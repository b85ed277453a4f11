"""The engines HTTP and NDT7: both are streams over our own bulk transfer."""

from collections.abc import Callable

from sonde_agent.checks.endpoint import local_files
from sonde_agent.checks.endpoint.failures import Trouble, classify
from sonde_agent.checks.endpoint.pure import Url, parse_url
from sonde_agent.checks.throughput import http_streams, ndt7_streams
from sonde_agent.checks.throughput.errand import Failed, Job, Place, found, ours
from sonde_agent.checks.throughput.pure import Figures
from sonde_agent.checks.throughput.transfer import Errand, transfer
from sonde_agent.net.bulk_gate import Gate
from sonde_agent.net.bulk_pipe import Pipe
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

_STREAMS: dict[tuple[pb.Engine.ValueType, bool], Callable[[Url, Pipe, Gate], http_streams.HttpStream]] = {
    (pb.ENGINE_HTTP, False): http_streams.Download,
    (pb.ENGINE_HTTP, True): http_streams.Upload,
    (pb.ENGINE_NDT7, False): ndt7_streams.Ndt7Download,
    (pb.ENGINE_NDT7, True): ndt7_streams.Ndt7Upload,
}
_WEB_SOCKETS = {"ws": "http", "wss": "https"}


def url_of(spec: control_pb2.ThroughputSpec, *, upload: bool) -> Url:
    """What a direction asks for. **Pure.**

    Raises:
        ValueError: it is no URL, in words.
    """
    if spec.engine != pb.ENGINE_NDT7:
        return parse_url(spec.upload_url if upload else spec.url)
    scheme, separator, rest = spec.url.partition("://")
    base = parse_url(f"{_WEB_SOCKETS.get(scheme, scheme)}{separator}{rest}")
    path = ndt7_streams.UPLOAD_PATH if upload else ndt7_streams.DOWNLOAD_PATH
    return base._replace(target=path)


async def place_of(job: Job, *, upload: bool) -> Place:
    """Where a direction goes; see `errand.found`."""
    try:
        url = url_of(job.spec, upload=upload)
    except ValueError as error:
        raise ours(str(error)) from None
    return await found(url.host, url.port, job)


async def measure(job: Job, place: Place, used_bytes: int, *, upload: bool) -> Figures:
    """Measure one direction; see `check.Engine`."""
    url = url_of(job.spec, upload=upload)
    tls = None
    if url.scheme == "https":
        wanted = control_pb2.EndpointSpec(kind=pb.ENDPOINT_KIND_HTTP, ca_file=job.spec.ca_file)
        try:
            tls = local_files.tls_context(wanted)
        except Trouble as error:
            raise _failed(error) from None
    kind = _STREAMS[job.plan.engine, upload]

    def stream(pipe: Pipe, gate: Gate) -> http_streams.HttpStream:
        return kind(url, pipe, gate)

    errand = Errand(place=place, tls=tls, upload=upload, stream=stream)
    return await transfer(errand, job, used_bytes)


def _failed(error: Trouble) -> Failed:
    end = classify(error, pb.STAGE_NONE)
    assert end is not None
    return Failed(end)
