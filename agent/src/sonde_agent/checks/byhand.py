"""`sonde-agent check …`: a task out of words on a command line, one run of it, and its report."""

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from sonde_agent import report
from sonde_agent.checks.base import Check, CheckImpossible, Context
from sonde_agent.checks.endpoint.check import measured_host
from sonde_agent.checks.endpoint.dns_message import question
from sonde_agent.checks.endpoint.expect import bad_pattern
from sonde_agent.checks.kinds import KINDS
from sonde_agent.net import resolve
from sonde_agent.net.icmp import Engines
from sonde_proto import units
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

OK, FAILED, USAGE = 0, 1, 2
_LONGEST_S = 3600.0
_GRACE_S = 2.0  # the check's own deadline comes first: it knows the stage
_ENDPOINTS = {
    "http": pb.ENDPOINT_KIND_HTTP,
    "tcp": pb.ENDPOINT_KIND_TCP,
    "tls": pb.ENDPOINT_KIND_TLS,
    "dns": pb.ENDPOINT_KIND_DNS,
}
_EXAMPLES = {
    "ping": "sonde-agent check ping 192.0.2.7 --count 20 --spacing 200ms",
    "http": "sonde-agent check http https://example.net/ --every-address --expect-status 200",
    "tcp": "sonde-agent check tcp example.net:443",
    "tls": "sonde-agent check tls example.net:443 --min-cert-days 14",
    "dns": "sonde-agent check dns example.net --type AAAA --server 192.0.2.53",
}


class UsageError(ValueError):
    """What was typed can't be run; the text is one line for a person."""


def _seconds(text: str) -> float:
    try:
        return units.parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _bytes(text: str) -> int:
    try:
        return units.parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=VALUE")
    return name, value


def add_parsers(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ping, http, tcp, tls and dns to `sonde-agent check`; their `check_kind` tells which was chosen."""
    ping = _parser(subparsers, "ping", "HOST", "echoes to a host: loss, round trip times, jitter")
    ping.add_argument(
        "--count", type=int, default=10, metavar="N", help="echoes to send (default %(default)s)"
    )
    ping.add_argument(
        "--spacing", type=_seconds, default=0.2, metavar="TIME", help="between echoes (default 200ms)"
    )
    ping.add_argument(
        "--wait", type=_seconds, default=2.0, metavar="TIME", help="a later reply is lost (default 2s)"
    )
    ping.add_argument(
        "--payload", type=int, default=16, metavar="BYTES", help="ICMP payload (default %(default)s)"
    )

    http = _parser(subparsers, "http", "URL", "one HTTP/1.1 request, hop by hop, phase by phase")
    tcp = _parser(subparsers, "tcp", "HOST:PORT", "a TCP connection")
    tls = _parser(subparsers, "tls", "HOST:PORT", "a TLS handshake and its certificate")
    dns = _parser(subparsers, "dns", "NAME", "one question to a DNS server")

    for parser in (http, tcp, tls):
        parser.add_argument(
            "--connect-to",
            action="append",
            default=[],
            metavar="ADDRESS",
            help="connect there in place of the name's address; may be repeated",
        )
        parser.add_argument(
            "--every-address", action="store_true", help="every A and AAAA of the name, each by itself"
        )
    for parser in (http, tls):
        parser.add_argument("--sni", default="", metavar="NAME", help="server name in the TLS handshake")
        parser.add_argument("--ca", default="", metavar="FILE", help="PEM of a private CA")
        parser.add_argument("--cert", default="", metavar="FILE", help="client certificate, PEM")
        parser.add_argument("--key", default="", metavar="FILE", help="its key, PEM")
        parser.add_argument("--insecure", action="store_true", help="do not verify the certificate")
        parser.add_argument(
            "--min-cert-days", type=int, default=0, metavar="DAYS", help="fail when it ends sooner"
        )
    http.add_argument("--host", default="", metavar="NAME", help="Host header")
    http.add_argument("--method", default="", help="GET when not given")
    http.add_argument(
        "--header-file",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=FILE",
        help="header with the value that the file holds; may be repeated",
    )
    http.add_argument(
        "--redirects", type=int, default=10, metavar="N", help="follow at most N (default %(default)s)"
    )
    http.add_argument(
        "--max-body", type=_bytes, default=0, metavar="SIZE", help="read at most this much (default 1MiB)"
    )
    http.add_argument("--expect-body", default="", metavar="TEXT", help="the body must contain it")
    http.add_argument("--expect-regex", default="", metavar="REGEX", help="the body must match it somewhere")
    http.add_argument(
        "--expect-header",
        action="append",
        default=[],
        type=_pair,
        metavar="NAME=REGEX",
        help="the header must match; may be repeated",
    )
    for parser in (http, dns):
        parser.add_argument(
            "--expect-status",
            action="append",
            default=[],
            type=int,
            metavar="N",
            help="HTTP status, or DNS rcode, that is as expected; may be repeated",
        )
    dns.add_argument(
        "--server", default="", metavar="ADDRESS[:PORT]", help="whom to ask (default: this host's resolver)"
    )
    dns.add_argument("--type", default="", help="record type: A, AAAA, CNAME, MX, NS, TXT … (default A)")
    dns.add_argument(
        "--expect-answer",
        action="append",
        default=[],
        metavar="TEXT",
        help="the set that must be answered; may be repeated",
    )


def _parser(
    subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]", kind: str, what: str, about: str
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(kind, help=about, description=about, epilog=f"example: {_EXAMPLES[kind]}")
    parser.add_argument("measured", metavar=what)
    parser.add_argument("--family", type=int, choices=(4, 6), default=0, help="only this IP version")
    parser.add_argument("--json", action="store_true", help="the result for programs")
    if kind != "ping":
        parser.add_argument(
            "--timeout", type=_seconds, default=10.0, metavar="TIME", help="of the run (default 10s)"
        )
        parser.add_argument(
            "--max-total", type=_seconds, default=0.0, metavar="TIME", help="fail when it took longer"
        )
    parser.set_defaults(check_kind=kind)
    return parser


def parse(kind: str, argv: Sequence[str]) -> control_pb2.Task:
    """The task that `check KIND ARGV…` means; wrong usage ends the program as argparse does."""
    parser = argparse.ArgumentParser(prog="sonde-agent check")
    add_parsers(parser.add_subparsers(required=True))
    return task_from(parser.parse_args([kind, *argv]))


def task_from(args: argparse.Namespace) -> control_pb2.Task:
    """The task that was typed.

    Raises:
        UsageError: when it can't be run, saying what is wrong and how to write it.
    """
    _check_words(args)
    task = control_pb2.Task(key="by-hand", target=args.measured)
    if args.check_kind == "ping":
        _ping_spec(task, args)
    else:
        _endpoint_spec(task, args)
    return task


def _check_words(args: argparse.Namespace) -> None:
    """What every kind asks of its arguments: words of one line, bearable times, files that are there."""
    given = vars(args)
    if not args.measured or not args.measured.isprintable() or " " in args.measured:
        raise UsageError(
            f"{args.measured!a} is nothing that can be measured: give a name, an address or a URL"
        )
    if args.check_kind == "http" and "@" in re.split("[/?#]", args.measured.partition("//")[2])[0]:
        raise UsageError(
            "the URL holds a user or password, which is not sent: use --header-file for credentials"
        )
    for option in ("method", "host", "sni"):
        word = given.get(option, "")
        if not word.isprintable() or " " in word or (option == "method" and word and not word.isalpha()):
            raise UsageError(f"--{option} {word!a}: must be one word")
    for option in ("spacing", "wait", "timeout", "max_total"):
        if given.get(option, 0) > _LONGEST_S:
            raise UsageError(f"--{option.replace('_', '-')} must be at most 1h")
    if given.get("key") and not given.get("cert"):
        raise UsageError("--key needs --cert: the certificate that the key belongs to")
    files = [(option, given.get(option, "")) for option in ("ca", "cert", "key")]
    files += [("header-file", path) for _, path in given.get("header_file", [])]
    for option, path in files:
        if path and not (Path(path).is_file() and os.access(path, os.R_OK)):
            raise UsageError(f"--{option} {path}: no file that can be read")


def _ping_spec(task: control_pb2.Task, args: argparse.Namespace) -> None:
    limits = {"count": (args.count, 1, 1000), "payload": (args.payload, 16, 1400)}
    for name, (value, least, most) in limits.items():
        if not least <= value <= most:
            raise UsageError(f"--{name} must be from {least} to {most}, not {value}")
    if args.spacing < 0.01:  # noqa: PLR2004 - as control.proto says
        raise UsageError("--spacing must be at least 10ms")
    if args.wait <= 0:
        raise UsageError("--wait must be more than 0")
    task.ping.CopyFrom(
        control_pb2.PingSpec(
            host=args.measured,
            family=args.family,
            count=args.count,
            spacing_ms=round(args.spacing * 1000),
            wait_ms=max(round(args.wait * 1000), 1),
            payload_bytes=args.payload,
        )
    )
    task.timeout_ms = round((args.count * args.spacing + args.wait + 5) * 1000)  # 5 s for the resolver


def _endpoint_spec(task: control_pb2.Task, args: argparse.Namespace) -> None:
    given = vars(args)
    if args.timeout <= 0:
        raise UsageError("--timeout must be more than 0")
    for option in ("redirects", "min_cert_days", "expect_status"):
        numbers = given.get(option, 0)
        if any(not 0 <= number <= 10_000 for number in (numbers if isinstance(numbers, list) else [numbers])):  # noqa: PLR2004
            raise UsageError(f"--{option.replace('_', '-')} must be from 0 to 10000")
    for address in given.get("connect_to", []):
        if not resolve.family_of(address):
            raise UsageError(f"--connect-to {address}: must be an IP address")
    spec = control_pb2.EndpointSpec(
        kind=_ENDPOINTS[args.check_kind],
        url=args.measured,
        family=args.family,
        connect_to=given.get("connect_to", []),
        every_address=given.get("every_address", False),
        sni=given.get("sni", ""),
        host=given.get("host", ""),
        method=given.get("method", "").upper(),
        header_files=dict(given.get("header_file", [])),
        ca_file=given.get("ca", ""),
        client_cert_file=given.get("cert", ""),
        client_key_file=given.get("key", ""),
        max_redirects=given.get("redirects", 0),
        max_body_bytes=given.get("max_body", 0),
        dns_server=given.get("server", ""),
        dns_type=given.get("type", "").upper(),
        expect=control_pb2.Expectations(
            status=given.get("expect_status", []),
            body_contains=given.get("expect_body", ""),
            body_regex=given.get("expect_regex", ""),
            header_regex=dict(given.get("expect_header", [])),
            max_total_ms=round(args.max_total * 1000),
            min_cert_days=given.get("min_cert_days", 0),
            answers=given.get("expect_answer", []),
            insecure=given.get("insecure", False),
        ),
    )
    try:
        measured_host(spec)
        if spec.kind == pb.ENDPOINT_KIND_DNS:
            question(spec.url, spec.dns_type)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if reason := bad_pattern(spec.expect):
        raise UsageError(reason)
    task.endpoint.CopyFrom(spec)
    task.timeout_ms = round(args.timeout * 1000)


def run_by_hand(args: argparse.Namespace) -> int:
    """Run what was typed, print its report (or JSON) to stdout; 0 ok, 1 failed, 2 wrong usage.

    No policy holds here: whoever can type the command may send the packets.
    """
    try:
        task = task_from(args)
    except UsageError as error:
        print(f"sonde-agent check {args.check_kind}: {error}", file=sys.stderr)  # noqa: T201 - a command line
        return USAGE
    try:
        results = asyncio.run(_run(task))
    except CheckImpossible as error:
        print(f"sonde-agent check {args.check_kind}: {error}", file=sys.stderr)  # noqa: T201 - as above
        return FAILED
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    print(report.to_json(results) if args.json else report.render(task, results, color=color))  # noqa: T201 - as above
    return OK if results and all(map(report.succeeded, results)) else FAILED


async def _run(task: control_pb2.Task) -> list[pb.Result]:
    check: Check = KINDS[str(task.WhichOneof("spec"))]
    engines = Engines()
    context = Context(icmp=engines)
    at_us = context.wall_us()
    try:
        async with asyncio.timeout(task.timeout_ms / 1000 + _GRACE_S):
            return await check.run(task, context)
    except TimeoutError:
        return [check.failed(task, pb.FAILURE_TIMEOUT, pb.STAGE_NONE, at_us)]
    finally:
        engines.close()
