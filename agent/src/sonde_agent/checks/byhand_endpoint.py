"""`sonde-agent check http`, `tcp`, `tls`, `dns`: their words, and the tasks that these mean."""

import argparse

from sonde_agent.checks.byhand_words import Subparsers, UsageError, add, pair, seconds, size
from sonde_agent.checks.endpoint.check import measured_host
from sonde_agent.checks.endpoint.dns_message import question
from sonde_agent.checks.endpoint.expect import bad_pattern
from sonde_agent.net import resolve
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

_ENDPOINTS = {
    "http": pb.ENDPOINT_KIND_HTTP,
    "tcp": pb.ENDPOINT_KIND_TCP,
    "tls": pb.ENDPOINT_KIND_TLS,
    "dns": pb.ENDPOINT_KIND_DNS,
}
_EXAMPLES = {
    "http": "sonde-agent check http https://example.net/ --every-address --expect-status 200",
    "tcp": "sonde-agent check tcp example.net:443",
    "tls": "sonde-agent check tls example.net:443 --min-cert-days 14",
    "dns": "sonde-agent check dns example.net --type AAAA --server 192.0.2.53",
}


def add_endpoints(subparsers: Subparsers) -> None:
    """Add the parsers."""
    http = _add(subparsers, "http", "URL", "one HTTP/1.1 request, hop by hop, phase by phase")
    tcp = _add(subparsers, "tcp", "HOST:PORT", "a TCP connection")
    tls = _add(subparsers, "tls", "HOST:PORT", "a TLS handshake and its certificate")
    dns = _add(subparsers, "dns", "NAME", "one question to a DNS server")

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
        type=pair,
        metavar="NAME=FILE",
        help="header with the value that the file holds; may be repeated",
    )
    http.add_argument(
        "--redirects", type=int, default=10, metavar="N", help="follow at most N (default %(default)s)"
    )
    http.add_argument(
        "--max-body", type=size, default=0, metavar="SIZE", help="read at most this much (default 1MiB)"
    )
    http.add_argument("--expect-body", default="", metavar="TEXT", help="the body must contain it")
    http.add_argument("--expect-regex", default="", metavar="REGEX", help="the body must match it somewhere")
    http.add_argument(
        "--expect-header",
        action="append",
        default=[],
        type=pair,
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


def _add(subparsers: Subparsers, kind: str, what: str, about: str) -> argparse.ArgumentParser:
    parser = add(subparsers, kind, what, about, _EXAMPLES[kind])
    parser.add_argument(
        "--timeout", type=seconds, default=10.0, metavar="TIME", help="of the run (default 10s)"
    )
    parser.add_argument(
        "--max-total", type=seconds, default=0.0, metavar="TIME", help="fail when it took longer"
    )
    parser.set_defaults(make_task=_task)
    return parser


def _task(args: argparse.Namespace) -> control_pb2.Task:
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
    return control_pb2.Task(target=args.measured, endpoint=spec, timeout_ms=round(args.timeout * 1000))
