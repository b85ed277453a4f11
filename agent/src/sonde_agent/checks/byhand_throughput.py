"""`sonde-agent check throughput`: its words, and the task that they mean."""

import argparse
import re

from sonde_agent.checks.byhand_words import Subparsers, UsageError, add, seconds, size
from sonde_agent.checks.endpoint.pure import parse_host_port
from sonde_agent.checks.throughput.iperf3 import PORT
from sonde_agent.checks.throughput.own import url_of
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

EXAMPLE = "sonde-agent check throughput https://example.net/1g.bin --upload-url https://example.net/put"
_ENGINES = {
    "http": pb.ENGINE_HTTP,
    "iperf3": pb.ENGINE_IPERF3,
    "ndt7": pb.ENGINE_NDT7,
    "speedtest": pb.ENGINE_SPEEDTEST,
}
_MOST_SECONDS, _MOST_STREAMS, _MOST_MBPS = 300, 64, 100_000
_OVERHEAD_S = 25.0  # a direction's name, handshakes and patience
_SPEEDTEST_S = 120.0


def add_throughput(subparsers: Subparsers) -> None:
    """Add the parser."""
    about = "Mbit/s of a download and an upload, and the round trip time under that load"
    parser = add(subparsers, "throughput", "URL", about, EXAMPLE)
    parser.set_defaults(make_task=throughput_task)
    parser.add_argument(
        "--engine",
        choices=tuple(_ENGINES),
        default="http",
        help="default %(default)s; iperf3 takes HOST[:PORT], speedtest a Mini server's URL or -",
    )
    parser.add_argument("--upload-url", default="", metavar="URL", help="http: where PUT goes")
    parser.add_argument("--no-download", action="store_true", help="the upload alone")
    parser.add_argument("--no-upload", action="store_true", help="the download alone")
    parser.add_argument(
        "--seconds", type=seconds, default=8.0, metavar="TIME", help="measured in each direction (default 8s)"
    )
    parser.add_argument(
        "--ramp", type=seconds, default=1.5, metavar="TIME", help="left out before that (default 1500ms)"
    )
    parser.add_argument(
        "--streams", type=int, default=4, metavar="N", help="TCP connections (default %(default)s)"
    )
    parser.add_argument(
        "--max-bytes",
        type=size,
        default=1_000_000_000,
        metavar="SIZE",
        help="the run ends there (default 1GB)",
    )
    parser.add_argument("--rate-cap", type=int, default=0, metavar="MBPS", help="never faster than this")
    parser.add_argument("--ca", default="", metavar="FILE", help="PEM of a private CA")


def throughput_task(args: argparse.Namespace) -> control_pb2.Task:
    """The task that was typed.

    Raises:
        UsageError: when it can't be run, saying what is wrong and how to write it.
    """
    _check_numbers(args)
    _check_sides(args)
    engine = _ENGINES[args.engine]
    measured = "" if args.measured == "-" else args.measured
    uploads = bool(args.upload_url) if engine == pb.ENGINE_HTTP else True
    spec = control_pb2.ThroughputSpec(
        engine=engine,
        url="" if engine == pb.ENGINE_IPERF3 else measured,
        upload_url=args.upload_url,
        server=measured if engine == pb.ENGINE_IPERF3 else "",
        download=not args.no_download,
        upload=uploads and not args.no_upload,
        seconds=max(round(args.seconds), 1),
        ramp_ms=max(round(args.ramp * 1000), 1),
        streams=args.streams,
        max_bytes=args.max_bytes,
        rate_cap_mbps=args.rate_cap,
        family=args.family,
        ca_file=args.ca,
    )
    _check_places(spec)
    task = control_pb2.Task(target=args.measured, throughput=spec)
    each_s = _SPEEDTEST_S if engine == pb.ENGINE_SPEEDTEST else args.seconds + args.ramp + _OVERHEAD_S
    task.timeout_ms = round(each_s * (spec.download + spec.upload) * 1000)
    return task


def _check_numbers(args: argparse.Namespace) -> None:
    if not 1 <= args.streams <= _MOST_STREAMS:
        raise UsageError(f"--streams must be from 1 to {_MOST_STREAMS}, not {args.streams}")
    if not 0 <= args.rate_cap <= _MOST_MBPS:
        raise UsageError(f"--rate-cap must be from 0 to {_MOST_MBPS}, not {args.rate_cap}")
    if not 1 <= args.seconds <= _MOST_SECONDS or args.ramp > _MOST_SECONDS:
        raise UsageError(f"--seconds must be from 1s to {_MOST_SECONDS}s, and --ramp no longer")
    if args.max_bytes < 1:
        raise UsageError("--max-bytes must be more than 0")


def _check_sides(args: argparse.Namespace) -> None:
    """What is asked for fits the engine."""
    if args.no_download and (args.no_upload or (args.engine == "http" and not args.upload_url)):
        raise UsageError("nothing is left to measure: --no-download needs an upload (http: --upload-url)")
    if args.upload_url and args.engine != "http":
        raise UsageError(f"--upload-url is for http; {args.engine} uploads to the same server")
    for url in (args.measured, args.upload_url):
        if "@" in re.split("[/?#]", url.partition("//")[2])[0]:
            raise UsageError("the URL holds a user or password, which is not sent")


def _check_places(spec: control_pb2.ThroughputSpec) -> None:
    """Each direction that is asked for goes somewhere."""
    try:
        if spec.engine == pb.ENGINE_IPERF3:
            parse_host_port(spec.server, PORT)
            return
        if spec.engine == pb.ENGINE_SPEEDTEST and not spec.url:
            return
        for upload, asked in ((False, spec.download), (True, spec.upload)):
            if asked:
                url_of(spec, upload=upload and spec.engine != pb.ENGINE_SPEEDTEST)
    except ValueError as error:
        raise UsageError(str(error)) from None
