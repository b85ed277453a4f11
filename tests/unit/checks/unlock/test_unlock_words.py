"""What people read of unlock checks: the report, and the trace without anything secret."""

import json

import pytest

from sonde_agent import report
from sonde_agent.checks.unlock import watched
from sonde_agent.checks.unlock.via import same_places
from sonde_agent.report import unlock
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb
from sonde_unlock.exchange import Error, Exchange, Request

ROW = pb.Unlock(
    platform="acme",
    rule_version="3",
    verdict=pb.VERDICT_AVAILABLE,
    scope="full",
    region="GB",
    family=4,
    level=pb.EVIDENCE_LEVEL_TITLE_PAGE,
    via=pb.VIA_DNS_PROXY,
    fidelity=pb.FIDELITY_BROWSER_TLS,
    response_ms=120,
    exchanges=2,
    detail="title: any_of title body play now (play.example answered 200)",
    evidence=json.dumps({"decided": {"step": "title", "host": "play.example"}, "tls": "chrome152"}),
)


def told(row: pb.Unlock) -> str:
    """Give the report of one row."""
    task = control_pb2.Task(unlock=control_pb2.UnlockSpec())
    limits = {"acme": ("A page.", "That it plays.")}
    return report.render(task, [pb.Result(unlock=row)], color=False, limits=limits)


def test_the_report_of_access() -> None:
    """Verdict, scope, region, why, via, level, what it can't show, fidelity."""
    assert told(ROW) == (
        "unlock  acme@3 (IPv4)\n"
        "  ✓ available · full · GB  available\n"
        "  why        title: any_of title body play now (play.example answered 200)\n"
        "  via        DNS proxy: only the exit's own resolver gives this\n"
        "  evidence   the page of a title; A page.\n"
        "  can't show That it plays.\n"
        "  asked      2 requests in 120.0 ms, TLS as chrome152"
    )


def test_every_verdict_has_words() -> None:
    """The list of verdicts in the wire's file and that of the report are one."""
    assert set(unlock.VERDICTS) == set(pb.Verdict.values()) - {pb.VERDICT_UNSPECIFIED}


@pytest.mark.parametrize("verdict", sorted(unlock.VERDICTS))
def test_only_a_verdict_on_the_exit_is_a_success(verdict: pb.Verdict.ValueType) -> None:
    """No answer, an unknown answer and a missing secret say nothing of the exit: exit code 1."""
    row = pb.Unlock(platform="acme", family=4, verdict=verdict)
    silent = (pb.VERDICT_NETWORK_ERROR, pb.VERDICT_INCONCLUSIVE, pb.VERDICT_NOT_CONFIGURED)
    assert report.succeeded(pb.Result(unlock=row)) is (verdict not in silent)
    assert "acme" in told(row)


def test_a_rule_that_was_not_asked_is_told_so() -> None:
    """Our own side's failure is no verdict."""
    row = pb.Unlock(platform="acme", family=6, failure=pb.FAILURE_POLICY, detail="denied")
    assert "✗ not asked: forbidden by this agent's policy: denied" in told(row)
    assert not report.succeeded(pb.Result(unlock=row))


def test_the_trace_names_headers_and_hides_values() -> None:
    """No cookie, no body, no long or telling value of a query; sizes and phases instead."""
    request = Request(
        "title",
        "POST",
        f"https://play.example/x?page=2&token=abc&long={'y' * 60}",
        (("cookie", "st=hush"), ("authorization", "Bearer hush")),
        b"body-hush",
    )
    exchange = Exchange(
        request, status=200, headers=(("set-cookie", "a=hush"), ("server", "x")), body=b"hush",
        phases={"first_byte": 12.34}, address="192.0.2.1", http_version="2",
    )  # fmt: skip
    line = watched.line(watched.document(exchange, []))
    assert line == (
        "title      POST play.example/x?page=2&token=REDACTED&long=REDACTED "
        "→ 200 HTTP/2 [set-cookie, server] (sent 9, got 4 bytes; first byte 12.3 ms; 192.0.2.1)"
    )
    failed = Exchange(request, error=Error.TLS, detail="an alert")
    assert "→ tls: an alert" in watched.line(watched.document(failed, []))


def test_a_secret_is_hidden_wherever_it_stands() -> None:
    """Operators' secrets and the exit's address, in URL, headers and bodies; bytes that are no text stay."""
    request = Request("s", "GET", "https://a.example/hush-1234", (("x", "hush-1234"),), b"hush-1234")
    exchange = Exchange(
        request, status=200, headers=(("y", "203.0.113.9"),), body=b"at 203.0.113.9 hush-1234"
    )
    document = watched.document(exchange, ["hush-1234", "203.0.113.9", ""])
    assert "hush" not in json.dumps(document)
    assert "203.0.113.9" not in json.dumps(document)
    assert watched.document(Exchange(request, body=b"\xff"), [])["body"] == {"base64": "/w=="}


def test_only_addresses_of_the_trusted_answer_are_the_platforms_own() -> None:
    """One connection elsewhere is enough to ask again."""
    trusted = {"a": ("192.0.2.1", "192.0.2.2"), "b": ("192.0.2.3",)}
    assert same_places([("a", "192.0.2.2"), ("b", "192.0.2.3")], trusted)
    assert not same_places([("a", "192.0.2.2"), ("b", "192.0.2.1")], trusted)
    assert not same_places([("c", "192.0.2.1")], trusted)
