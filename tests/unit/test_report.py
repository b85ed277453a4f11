"""The report of a run by hand, and the command line that asks for it."""

import argparse
import json
import time

import pytest

from sonde_agent import report
from sonde_agent.checks import byhand
from sonde_agent.report import endpoint
from sonde_agent.report import words as report_words
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

HTTP = byhand.parse("http", ["https://edge.test/", "--every-address"])
GOOD = pb.Endpoint(
    kind=pb.ENDPOINT_KIND_HTTP,
    ok=True,
    address="192.0.2.1",
    family=4,
    connect_ms=4.0,
    tls_ms=8.0,
    first_byte_ms=4.0,
    transfer_ms=0.5,
    total_ms=18.0,
    overhead_ms=1.5,
    status=200,
    body_bytes=12,
    http_version="1.1",
    tls_version="TLSv1.3",
    cache_status="hit",
    cache_age_s=7,
    pop="AMS",
    cert_sha256="ab" * 32,
    cert_issuer="Example R3",
    cert_not_after_us=int((time.time() + 30.5 * 86400) * 1e6),
    redirects=1,
    quality=int(Quality.BODY_CAPPED),
    hops='[{"url":"http://edge.test/","status":301,"connect_ms":1.0},{"url":"https://edge.test/","status":200}]',
)
BAD = pb.Endpoint(
    kind=pb.ENDPOINT_KIND_HTTP,
    ok=False,
    address="192.0.2.2",
    family=4,
    connect_ms=4.0,
    total_ms=5.0,
    overhead_ms=1.0,
    failure=pb.FAILURE_CERTIFICATE,
    stage=pb.STAGE_HANDSHAKE,
    mismatch="the certificate has expired",
)
PING = pb.Performance(
    sent=10,
    received=9,
    packet_loss_pct=10,
    late=1,
    duplicates=2,
    ping_ms=12.5,
    rtt_min_ms=12.25,
    rtt_mean_ms=13,
    rtt_p95_ms=15,
    rtt_max_ms=16,
    rtt_stddev_ms=0.5,
    jitter_ms=0.25,
    ipdv_mean_abs_ms=0.125,
    ipdv_pairs=8,
    pdv_p95_ms=2.75,
    ttl=57,
    family=4,
)


def results(*endpoints: pb.Endpoint) -> list[pb.Result]:
    """As the check gives them."""
    return [pb.Result(measured_at_us=1, target="edge", endpoint=endpoint) for endpoint in endpoints]


def test_one_endpoint_tells_everything() -> None:
    """The report of one address names verdict, phases with bars, certificate, cache, hops and notes."""
    text = report.render(HTTP, results(GOOD), color=False)
    lines = text.splitlines()
    assert lines[0] == "http  https://edge.test/ → 192.0.2.1 (IPv4)"
    assert lines[1] == "  ✓ 200 · HTTP/1.1 · TLSv1.3 · 12 bytes"
    assert f"  tls            8.00 ms  {'█' * endpoint.BAR_WIDTH}" in lines
    assert f"  connect        4.00 ms  {'█' * (endpoint.BAR_WIDTH // 2)}" in lines
    for words in (
        "30 days left",
        "by Example R3",
        "hit · 7 s old",
        "AMS",
        "only the beginning of the body",
        "hop 1",
    ):
        assert words in text
    assert "\x1b" not in text


def test_several_endpoints_stand_side_by_side() -> None:
    """Two addresses of one name are columns, and what failed says why below."""
    text = report.render(HTTP, results(GOOD, BAD), color=False)
    header = next(line for line in text.splitlines() if "192.0.2.1" in line)
    assert "192.0.2.2" in header
    assert "  192.0.2.2: ✗ bad certificate in the handshake: the certificate has expired" in text


def test_ping_names_every_quantity_with_its_unit() -> None:
    """The ping report says what each figure is and by which RFC."""
    task = control_pb2.Task(ping=control_pb2.PingSpec(host="192.0.2.1"))
    text = report.render(task, [pb.Result(performance=PING)], color=False)
    assert "✓ 10 sent · 9 received · 10 % lost · 2 duplicate · 1 late" in text
    assert "min 12.2  mean 13.0  median 12.5  p95 15.0  max 16.0 ms" in text
    for words in ("0.250 ms (RFC 3550)", "0.125 ms, mean of 8 pairs in a row (RFC 3393)", "(RFC 5481)", "57"):
        assert words in text


def test_colour_only_where_asked() -> None:
    """Colour is added to the same text, nothing else."""
    plain = report.render(HTTP, results(GOOD, BAD), color=False)
    colored = report.render(HTTP, results(GOOD, BAD), color=True)
    assert "\x1b[31m" in colored
    for code in ("\x1b[31m", "\x1b[32m", "\x1b[2m", "\x1b[1m", "\x1b[0m"):
        colored = colored.replace(code, "")
    assert colored == plain


def test_json_has_the_protos_names_and_words() -> None:
    """Programs get the proto's field names, enums as words, hops and quality as lists."""
    good, bad = json.loads(report.to_json(results(GOOD, BAD)))
    assert good["endpoint"]["kind"] == "http"
    assert good["endpoint"]["quality"] == ["body_capped"]
    assert good["endpoint"]["hops"][0]["status"] == 301
    assert (bad["endpoint"]["failure"], bad["endpoint"]["stage"]) == ("certificate", "handshake")
    assert "tls_ms" not in bad["endpoint"]


@pytest.mark.parametrize(
    ("enum", "told"),
    [
        (pb.Failure, report_words.FAILURES),
        (pb.Stage, report_words.STAGES | {pb.STAGE_NONE: ""}),
        (pb.EndpointKind, endpoint.KINDS),
        (Quality, report_words.NOTES),
    ],
)
def test_every_value_has_words(enum: object, told: dict[int, str]) -> None:
    """No failure, stage, kind or quality bit is without words."""
    values = set(enum) if enum is Quality else set(enum.values())
    assert values - {0} == set(told) - {0}


def test_every_field_of_the_spec_has_an_option() -> None:
    """All fields of EndpointSpec and Expectations can be typed."""
    http = byhand.parse(
        "http",
        [
            "https://a.test/",
            "--family",
            "6",
            "--connect-to",
            "2001:db8::1",
            "--every-address",
            "--sni",
            "b.test",
            "--host",
            "c.test",
            "--method",
            "head",
            "--header-file",
            f"X-A={__file__}",
            "--ca",
            __file__,
            "--cert",
            __file__,
            "--key",
            __file__,
            "--insecure",
            "--redirects",
            "3",
            "--max-body",
            "64KiB",
            "--expect-status",
            "200",
            "--expect-status",
            "204",
            "--expect-body",
            "x",
            "--expect-regex",
            "y",
            "--expect-header",
            "Server=nginx",
            "--max-total",
            "1500ms",
            "--min-cert-days",
            "14",
            "--timeout",
            "3s",
        ],
    )
    dns = byhand.parse(
        "dns", ["a.test", "--server", "192.0.2.53:5353", "--type", "mx", "--expect-answer", "10 m.test"]
    )
    for message in (control_pb2.EndpointSpec, control_pb2.Expectations):
        pick = (
            (lambda task: task.endpoint)
            if message is control_pb2.EndpointSpec
            else (lambda task: task.endpoint.expect)
        )
        typed = {field.name for task in (http, dns) for field, _ in pick(task).ListFields()}
        assert typed == set(message.DESCRIPTOR.fields_by_name)
    assert (http.timeout_ms, http.endpoint.max_body_bytes, http.endpoint.expect.max_total_ms) == (
        3000,
        65536,
        1500,
    )
    assert (http.endpoint.method, dns.endpoint.dns_type) == ("HEAD", "MX")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["http", "ftp://a.test/"], "is no http:// or https:// URL"),
        (["tcp", "a.test"], "needs a port from 1 to 65535"),
        (["dns", "a.test", "--type", "NOPE"], "is no DNS record type"),
        (["dns", "a..test"], "is no DNS name"),
        (["http", "http://a.test/", "--expect-regex", r"(a)\1"], "linear time"),
        (["http", "http://a.test/", "--connect-to", "b.test"], "must be an IP address"),
        (["tls", "a.test:443", "--key", "k.pem"], "--key needs --cert"),
        (["ping", "a.test", "--count", "0"], "--count must be from 1 to 1000"),
        (["ping", "a.test", "--spacing", "1ms"], "--spacing must be at least 10ms"),
    ],
)
def test_wrong_usage_is_one_clear_line(
    argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What can't be run says so in one line, and exits with 2."""
    parser = argparse.ArgumentParser()
    byhand.add_parsers(parser.add_subparsers(required=True))
    assert byhand.run_by_hand(parser.parse_args(argv)) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "argv", [["ping", "h", "--wait", "5"], ["http", "http://h/", "--header-file", "X"], ["tcp"]]
)
def test_options_that_argparse_refuses(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A malformed option exits with 2 and names itself."""
    with pytest.raises(SystemExit) as end:
        byhand.parse(argv[0], argv[1:])
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


TUNNEL = control_pb2.Task(
    key="by-hand", target="se1.conf", connection=control_pb2.ConnectionSpec(profile="x")
)
UP = pb.Performance(
    protocol="WireGuard", family=4, backend="wireguard-go", connection_success=True, connection_time_ms=26.5,
    handshake_ms=26.5, first_byte_ms=70, direct_ping_ms=19.5, direct_packet_loss_pct=0, direct_jitter_ms=0.1,
    ping_ms=20.1, packet_loss_pct=10, sent=10, received=9, exit_address="203.0.113.7", engine=pb.ENGINE_HTTP,
    streams=4, download_mbps=48.25, download_p50_mbps=48, download_p90_mbps=49, down_bytes=50_000_000,
    direct_download_mbps=93.4, loaded_ping_ms=31, tcp_min_rtt_ms=20, retransmits=3,
)  # fmt: skip


def test_a_tunnel_run_tells_stages_both_paths_speed_and_exit() -> None:
    """Direct and through stand below each other; what was not measured has no line."""
    text = report.render(TUNNEL, [pb.Result(performance=UP)], color=False)
    for line in (
        "vpn  se1.conf → WireGuard (IPv4)",
        "  ✓ connected in 26.5 ms by wireguard-go",
        "  handshake      26.5 ms",
        "  ping       direct   19.5 ms · 0 % lost · jitter 0.100 ms",
        "  ping       through  20.1 ms · 10 % lost",
        "  download   48.2 Mbit/s (median 48.0, p90 49.0)",
        "  loaded rtt 31.0 ms",
        "  direct     down 93.4 Mbit/s",
        "  exit       203.0.113.7",
    ):
        assert line in text.splitlines()
    assert "auth" not in text
    assert report.succeeded(pb.Result(performance=UP))


def test_a_tunnel_that_failed_says_why_and_where() -> None:
    """One line with failure, stage and words; the baseline is still told."""
    failed = pb.Performance(
        protocol="WireGuard", failure=pb.FAILURE_LEAK, stage=pb.STAGE_FIRST_BYTE, detail="the world sees us",
        connection_success=False, direct_ping_ms=19.5, direct_packet_loss_pct=0,
    )  # fmt: skip
    result = pb.Result(performance=failed)
    text = report.render(TUNNEL, [result], color=False)
    assert "✗ it leaks waiting for the first byte: the world sees us" in text
    assert "direct   19.5 ms" in text
    assert not report.succeeded(result)


def test_a_check_through_a_tunnel_is_told_as_itself() -> None:
    """The tunnel has one line, then comes the check's report; a tunnel that failed has its own instead."""
    page = control_pb2.Task(
        endpoint=control_pb2.EndpointSpec(kind=pb.ENDPOINT_KIND_HTTP, url="http://a.test/")
    )
    through = control_pb2.Task(key=report.THROUGH, target="se1.conf")
    through.connection.inside.append(page)
    found = pb.Result(
        endpoint=pb.Endpoint(kind=pb.ENDPOINT_KIND_HTTP, ok=True, status=200, address="192.0.2.1")
    )
    lines = report.render(through, [pb.Result(performance=UP), found], color=False).splitlines()
    assert lines[0] == "vpn  se1.conf → WireGuard (IPv4), ✓ connected in 26.5 ms by wireguard-go"
    assert lines[2] == "http  http://a.test/ → 192.0.2.1"
    dead = pb.Performance(failure=pb.FAILURE_TIMEOUT, stage=pb.STAGE_HANDSHAKE, connection_success=False)
    assert "✗ timeout in the handshake" in report.render(through, [pb.Result(performance=dead)], color=False)


def test_a_transfer_tells_rate_load_and_cost() -> None:
    """Verdict is the rate; a failure stands first and keeps what was measured."""
    task = control_pb2.Task(throughput=control_pb2.ThroughputSpec(url="http://a.test/1g"))
    row = pb.Performance()
    row.CopyFrom(UP)
    text = report.render(task, [pb.Result(performance=row)], color=False)
    assert "  ✓ download 48.2 Mbit/s (median 48.0, p90 49.0)" in text.splitlines()
    assert "  tcp        rtt min 20.0 ms · 3 retransmits" in text.splitlines()
    assert "by HTTP, 4 streams" in text
    row.failure, row.stage, row.detail = pb.FAILURE_RESET, pb.STAGE_TRANSFER, "gone"
    text = report.render(task, [pb.Result(performance=row)], color=False)
    assert "✗ connection lost in the middle of the answer: gone" in text
    assert "download   48.2" in text
