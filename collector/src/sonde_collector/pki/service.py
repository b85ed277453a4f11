"""The Enrol service: tokens and old certificates in, new certificates out."""

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import grpc
import psycopg
import structlog
from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from psycopg_pool import PoolTimeout

from sonde_collector.access.bucket import Bucket
from sonde_collector.db.errors import DatabaseError
from sonde_collector.db.pool import Database
from sonde_collector.pki import authority as pki
from sonde_collector.pki import book
from sonde_collector.pki.authority import Authority, PkiError
from sonde_collector.pki.book import NotAccepted, Signed
from sonde_proto.enrolment import VANTAGE, Token, statement
from sonde_proto.v1 import enrol_pb2, enrol_pb2_grpc

GRACE = dt.timedelta(days=90)
"""For so long after its end a certificate can be renewed: an agent may have been away."""
_AT_ONCE = 4  # of the pool's connections
_CONNECT_S = 3.0
_LONGEST = 8192  # bytes of a certificate
_LINES_PER_MINUTE = 60  # of refusals in the log: anybody can make one
_log = structlog.get_logger()

_Context = grpc.aio.ServicerContext[Any, enrol_pb2.Issued]
_Request = TypeVar("_Request", enrol_pb2.EnrollRequest, enrol_pb2.RenewalRequest)


@frozen
class Rules:
    """Who signs, and for how long.

    Attributes:
        authority: signs new certificates.
        accepted: authorities whose certificates can be renewed.
        lifetime: of a new certificate.
    """

    authority: Authority
    accepted: Sequence[x509.Certificate]
    lifetime: dt.timedelta

    def sign(self, csr: bytes, vantage: str) -> Signed:
        """Give the certificate to be for the key of a request.

        Raises:
            PkiError: the request can't be used.
        """
        if not VANTAGE.fullmatch(vantage):
            raise PkiError("the request names no vantage")
        key = pki.requested_key(csr)
        return Signed(
            vantage, self.authority.sha256, lambda: self.authority.agent(key, vantage, self.lifetime)
        )


class EnrolService(enrol_pb2_grpc.EnrolServicer):
    """Serves Enroll and Renew.

    Args:
        database: where tokens and certificates stand.
        rules: who signs what.
    """

    def __init__(self, database: Database, rules: Rules) -> None:
        self._database = database
        self._rules = rules
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._lines = Bucket.full(_LINES_PER_MINUTE, time.monotonic())
        self._untold = 0

    async def Enroll(  # noqa: N802 -- gRPC's name
        self, request: enrol_pb2.EnrollRequest, context: _Context
    ) -> enrol_pb2.Issued:
        """Give an agent its first certificate for a token."""
        return await self._answer(request, context, "enrolled", self._enrol)

    async def Renew(  # noqa: N802
        self, request: enrol_pb2.RenewalRequest, context: _Context
    ) -> enrol_pb2.Issued:
        """Give an agent the successor of its certificate."""
        return await self._answer(request, context, "renewed", self._renew)

    async def _enrol(self, request: enrol_pb2.EnrollRequest) -> x509.Certificate | None:
        try:
            token = Token.read(request.token)
        except ValueError as error:
            raise NotAccepted(f"the token {error}") from None
        if token.ca_sha256 != self._rules.authority.sha256:
            raise NotAccepted("this token is of another authority: make a new one on this collector")
        signed = self._rules.sign(request.csr, request.vantage)
        return await self._on_database(lambda conn: book.enrol(conn, token, signed))

    async def _renew(self, request: enrol_pb2.RenewalRequest) -> x509.Certificate | None:
        old = _proven(request, self._rules.accepted)
        signed = self._rules.sign(request.csr, request.vantage)
        given = None if request.only_ask else signed
        return await self._on_database(
            lambda conn: book.renew(conn, pki.serial_of(old), given, request.vantage)
        )

    async def _answer(
        self,
        request: _Request,
        context: _Context,
        done: str,
        work: Callable[[_Request], Awaitable[x509.Certificate | None]],
    ) -> enrol_pb2.Issued:
        try:
            certificate = await work(request)
        except NotAccepted as error:
            self._tell(f"not_{done}", request.vantage, context, str(error))
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, str(error))
            raise
        except PkiError as error:
            self._tell(f"not_{done}", request.vantage, context, str(error))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            raise
        except (psycopg.Error, PoolTimeout, DatabaseError, OSError) as error:
            self._tell(f"not_{done}", request.vantage, context, " ".join(str(error).split()))
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "the collector's database does not answer: try again"
            )
            raise
        if certificate is None:
            return enrol_pb2.Issued()
        until = certificate.not_valid_after_utc
        _log.info(
            f"agent_{done}", vantage=request.vantage, peer=_peer(context), serial=pki.serial_of(certificate),
            until=until.isoformat(), agent_version=request.agent_version[:32],
        )  # fmt: skip
        return enrol_pb2.Issued(
            certificate=certificate.public_bytes(Encoding.DER),
            not_after_us=round(until.timestamp()) * 1_000_000,
        )

    def _tell(self, event: str, vantage: str, context: _Context, reason: str) -> None:
        """Log a refusal, unless so many are that a stranger means to fill the log."""
        if not self._lines.take(_LINES_PER_MINUTE, time.monotonic()).allowed:
            self._untold += 1
            return
        more = {"untold": self._untold} if self._untold else {}
        _log.warning(event, vantage=vantage[:16], peer=_peer(context), reason=reason, **more)
        self._untold = 0

    async def _on_database(
        self, work: Callable[[psycopg.Connection], x509.Certificate | None]
    ) -> x509.Certificate | None:
        def run() -> x509.Certificate | None:
            with self._database.pool.connection(timeout=_CONNECT_S) as conn:
                return work(conn)

        async with self._room:
            return await asyncio.to_thread(run)


def _proven(request: enrol_pb2.RenewalRequest, accepted: Sequence[x509.Certificate]) -> x509.Certificate:
    """Give the old certificate, if who asks has its key and it may be renewed.

    Raises:
        NotAccepted: it may not; in words.
        PkiError: it can't be read.
    """
    again = f"enrol again with a token of `sonde-collector agents token {request.vantage}`"
    if len(request.certificate) > _LONGEST:
        raise PkiError(f"the certificate is longer than {_LONGEST} bytes")
    try:
        old = x509.load_der_x509_certificate(request.certificate)
        key = old.public_key()
    except (ValueError, TypeError) as error:
        raise PkiError(f"the certificate can't be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise PkiError("only certificates with ECDSA keys are renewed")
    try:
        key.verify(request.signature, statement(request.csr, request.certificate), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise NotAccepted("the renewal is not signed by the certificate's own key") from None
    if not pki.signed_by(old, accepted):
        raise NotAccepted(f"the certificate is of an authority that this collector does not accept: {again}")
    if not pki.is_agents(old):
        raise NotAccepted("the certificate is a server's, not an agent's")
    if pki.common_name(old) != request.vantage:
        raise NotAccepted(
            f'the certificate is for "{pki.common_name(old)}", not for vantage "{request.vantage}"'
        )
    away = dt.datetime.now(dt.UTC) - old.not_valid_after_utc
    if away > GRACE:
        raise NotAccepted(
            f"the certificate ended {away.days} days ago, and can be renewed for {GRACE.days}: {again}"
        )
    return old


def _peer(context: _Context) -> str:
    return str(context.peer())
