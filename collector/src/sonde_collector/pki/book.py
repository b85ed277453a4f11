"""Tokens, issued certificates and revocations in PostgreSQL: one transaction each."""

import datetime as dt
from collections.abc import Callable

import psycopg
from attrs import frozen
from cryptography import x509

from sonde_collector.db.queries import query
from sonde_collector.pki.authority import serial_of
from sonde_proto.enrolment import Token

Issue = Callable[[], x509.Certificate]


class NotAccepted(Exception):
    """A token or certificate is not accepted; the text is for both sides."""


class UnknownVantage(Exception):
    """No such vantage, or it is not active; in words."""


@frozen
class Signed:
    """A certificate to be, and what is to be written of it.

    Attributes:
        vantage: whom it names.
        ca_sha256: fingerprint of the authority that signs it.
        issue: signs it.
    """

    vantage: str
    ca_sha256: bytes
    issue: Issue


def add_token(conn: psycopg.Connection, token: Token, for_s: float) -> dt.datetime:
    """Keep a token's hash, and void what is left of earlier ones of its vantage; give when it ends.

    Raises:
        UnknownVantage: the vantage is not in the inventory.
    """
    with conn.transaction():
        probe = _lock(conn, token.vantage)
        values = {"probe": probe, "hash": token.digest, "for_s": for_s}
        row = conn.execute(query("identity_add_token"), values).fetchone()
    assert row is not None
    expires: dt.datetime = row[0]
    return expires


def enrol(conn: psycopg.Connection, token: Token, signed: Signed) -> x509.Certificate:
    """Use a token up, and issue; all of it or nothing.

    Raises:
        NotAccepted: the token is not known, used, expired, void, or another vantage's.
    """
    again = f"make a new one: `sonde-collector agents token {signed.vantage}`"
    with conn.transaction():
        try:
            probe = _lock(conn, signed.vantage)
        except UnknownVantage as error:
            raise NotAccepted(str(error)) from None
        row = conn.execute(query("identity_token"), {"hash": token.digest}).fetchone()
        if row is None:
            raise NotAccepted(f"this token was not made for this collector's database; {again}")
        number, code, used, voided, expires, expired = row
        if code != signed.vantage:
            raise NotAccepted(f'this token is for vantage "{code}", not for "{signed.vantage}"; {again}')
        if used is not None:
            raise NotAccepted(f"this token was used up at {_at(used)}: it is good for one enrolment; {again}")
        if voided is not None:
            raise NotAccepted(
                f"this token is void since {_at(voided)}: a newer one was made, or its vantage was revoked; "
                f"{again}"
            )
        if expired:
            raise NotAccepted(f"this token has ended at {_at(expires)}; {again}")
        conn.execute(query("identity_use_token"), {"id": number})
        return _issue(conn, probe, signed, token=number, replaces=None)


def renew(conn: psycopg.Connection, old: str, signed: Signed | None, vantage: str) -> x509.Certificate | None:
    """Issue a successor to the certificate with serial `old`; without `signed` only say whether it would be.

    Raises:
        NotAccepted: the vantage is gone, or the certificate is revoked.
    """
    with conn.transaction():
        try:
            probe = _lock(conn, vantage)
        except UnknownVantage as error:
            raise NotAccepted(str(error)) from None
        row = conn.execute(query("identity_revocation"), {"probe": probe, "serial": old}).fetchone()
        if row is not None:
            raise NotAccepted(revoked_words(vantage, row[0], row[1]))
        return None if signed is None else _issue(conn, probe, signed, token=None, replaces=old)


def revoke(conn: psycopg.Connection, vantage: str, reason: str) -> None:
    """Refuse every certificate and open token that a vantage has by now, on all collectors.

    Raises:
        UnknownVantage: there is no such vantage.
    """
    with conn.transaction():
        probe = _lock(conn, vantage, active=False)
        conn.execute(query("identity_void_tokens"), {"probe": probe})
        conn.execute(query("identity_revoke"), {"probe": probe, "reason": reason})
        detail = f"the certificates of {vantage} are revoked: {reason}"
        values = {"vantage": vantage, "detail": detail, "reason": reason, "over": False}
        conn.execute(query("identity_event"), values)


def unrevoke(conn: psycopg.Connection, vantage: str) -> bool:
    """Take that back; False where nothing was revoked.

    Raises:
        UnknownVantage: there is no such vantage.
    """
    with conn.transaction():
        probe = _lock(conn, vantage, active=False)
        gone = conn.execute(query("identity_unrevoke"), {"probe": probe}).rowcount > 0
        if gone:
            detail = f"the certificates of {vantage} are accepted again"
            values = {"vantage": vantage, "detail": detail, "reason": None, "over": True}
            conn.execute(query("identity_event"), values)
    return gone


def revoked_words(vantage: str, at: dt.datetime, reason: str) -> str:
    """Say that a vantage's certificate is revoked, and what to do. **Pure**."""
    return (
        f'the certificates of vantage "{vantage}" were revoked at {_at(at)} ({reason}): enrol again with a '
        f"token of `sonde-collector agents token {vantage}`"
    )


def _lock(conn: psycopg.Connection, vantage: str, *, active: bool = True) -> int:
    row = conn.execute(query("identity_lock"), {"vantage": vantage}).fetchone()
    if row is None:
        raise UnknownVantage(
            f'vantage "{vantage}" is not in the inventory: add it to the fleet file and run '
            "`sonde-collector apply`"
        )
    if active and not row[1]:
        raise UnknownVantage(f'vantage "{vantage}" has left the inventory: it gets no certificate')
    probe: int = row[0]
    return probe


def _issue(
    conn: psycopg.Connection, probe: int, signed: Signed, *, token: int | None, replaces: str | None
) -> x509.Certificate:
    certificate = signed.issue()
    values = {
        "serial": serial_of(certificate),
        "probe": probe,
        "not_before": certificate.not_valid_before_utc,
        "not_after": certificate.not_valid_after_utc,
        "token": token,
        "replaces": replaces,
        "ca_sha256": signed.ca_sha256,
    }
    conn.execute(query("identity_issued"), values)
    return certificate


def _at(moment: dt.datetime) -> str:
    return f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"
