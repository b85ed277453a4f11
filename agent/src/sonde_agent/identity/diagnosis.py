"""What stands between this host's identity and the collector, for the doctor: asked, changed nothing."""

import ssl
from collections.abc import Callable

from sonde_agent.checks.endpoint.certificate import certificate_term
from sonde_agent.config import AgentConfig, Tls, split_address
from sonde_agent.findings import Finding
from sonde_agent.identity.terms import clock_trouble, moment
from sonde_agent.net.served_chain import refusal, served_chain
from sonde_agent.pem import first_der

_WARN_DAYS = 14
_DAY_US = 86_400_000_000
_WITHIN_S = 3.0
_MEND = "enrol again: sonde-agent enroll, with a token of `sonde-collector agents token {vantage}`"


def certificate(files: Tls, vantage: str, wall_us: Callable[[], int]) -> Finding:
    """Whether our certificate can be used, and until when."""
    name, mend = "certificate", _MEND.format(vantage=vantage)
    try:
        term = certificate_term(first_der(files.cert))
        _fits(files)
    except (OSError, ValueError) as error:
        return Finding(name, "lacking", f"{files.cert}, {files.key} or {files.ca}: {error}", mend)
    now_us = wall_us()
    days = (term.not_after_us - now_us) / _DAY_US
    if days <= 0:
        renewable = " (a running agent renews it for 90 days more)" if files.enroll else ""
        return Finding(name, "lacking", f"{files.cert} ended {-days:.0f} days ago{renewable}", mend)
    if now_us < term.not_before_us:
        begins = moment(term.not_before_us)
        detail = f"{files.cert} begins at {begins}, and this host's clock says {moment(now_us)}"
        return Finding(name, "lacking", detail, "set the clock; run systemd-timesyncd or chrony")
    if term.subject != vantage:
        detail = f'{files.cert} is for "{term.subject}", not for vantage "{vantage}"'
        return Finding(name, "lacking", detail, mend)
    # A short life is no trouble by itself: what counts is that a third of it is over due.
    life_days = (term.not_after_us - term.not_before_us) / _DAY_US
    soon = days < min(_WARN_DAYS, life_days / 4)
    return Finding(
        name, "note" if soon else "ok", f"{files.cert} holds for {days:.0f} more days", mend if soon else ""
    )


def handshake(config: AgentConfig, files: Tls, wall_us: Callable[[], int]) -> Finding:
    """Whether collector and agent accept each other, and in whose words not."""
    name, address = "TLS", split_address(config.collector)
    try:
        said = refusal(address, files.ca, files.cert, files.key, proxy=config.proxy, within_s=_WITHIN_S)
        if not said:
            return Finding(name, "ok", f"{config.collector} and this agent accept each other's certificates")
        leaf = served_chain(address, proxy=config.proxy, within_s=_WITHIN_S)[0]
        term = certificate_term(leaf)
    except (OSError, ValueError, IndexError) as error:
        return Finding(name, "note", f"can't be tried: {error}", "see the line of the collector above")
    if trouble := clock_trouble(term.not_before_us, term.not_after_us, wall_us()):
        return Finding(name, "lacking", said, trouble)
    mend = _MEND.format(vantage=config.vantage)
    if "we do not accept" in said:
        mend = (
            "check that `collector` is the right host and named by its certificate, and that tls.ca signed it"
        )
    return Finding(name, "lacking", said, mend)


def renewal(config: AgentConfig, files: Tls) -> Finding:
    """Whether the collector would renew the certificate: tells of one that is revoked or of another CA."""
    from sonde_agent.identity import calls, requests  # noqa: PLC0415 -- cryptography, for who has an identity

    assert files.enroll is not None, "asked only where it is set"
    try:
        calls.renew(calls.Desk(files.enroll, config.proxy), config.vantage, files, None)
    except (requests.EnrolError, OSError) as error:
        return Finding(
            "renewal", "lacking", str(error), f"mend that, or {_MEND.format(vantage=config.vantage)}"
        )
    return Finding("renewal", "ok", f"{files.enroll} would renew the certificate")


def _fits(files: Tls) -> None:
    context = ssl.create_default_context(cafile=files.ca)
    context.load_cert_chain(files.cert, files.key)
