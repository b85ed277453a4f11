"""Enrolment and renewal, in a process of their own: one call each, to a collector that proved itself.

Nothing is said before the server has shown the authority that we know by its fingerprint; that authority must
then have signed the server's certificate, for the name that we called.
"""

import ssl
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import grpc

from sonde_agent import VERSION
from sonde_agent.checks.endpoint.certificate import certificate_term
from sonde_agent.config import Tls, split_address
from sonde_agent.identity.files import IdentityFiles
from sonde_agent.identity.requests import EnrolError, new_key, pem_of, sign
from sonde_agent.identity.terms import clock_trouble
from sonde_agent.net.served_chain import served_chain
from sonde_agent.pem import first_der
from sonde_proto.enrolment import Token, fingerprint, statement
from sonde_proto.v1 import enrol_pb2, enrol_pb2_grpc

_WITHIN_S = 20.0

Call = Callable[[enrol_pb2_grpc.EnrolStub], enrol_pb2.Issued]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where certificates are asked for.

    Attributes:
        address: host:port of the collector's enrolment port.
        proxy: "http://host:port"; empty = none.
    """

    address: str
    proxy: str = ""

    def authority(self, ca_sha256: bytes, known_by: str) -> bytes:
        """Give the authority with that fingerprint, in DER, as the server shows it.

        Args:
            ca_sha256: of its certificate.
            known_by: what names it, for messages.

        Raises:
            EnrolError: the server can't be reached, shows another one, or its certificate does not hold now.
        """
        try:
            chain = served_chain(split_address(self.address), proxy=self.proxy)
        except OSError as error:
            raise EnrolError(f"{self.address}: {_words(error)}") from None
        authority = next((der for der in chain if sha256(der).digest() == ca_sha256), None)
        if authority is None:
            raise EnrolError(
                f"{self.address} does not show the authority that {known_by} names (SHA-256 "
                f"{fingerprint(ca_sha256)}): it is not the collector's enrolment port, another collector, or "
                "somebody in between; nothing was sent"
            )
        term = certificate_term(chain[0])
        if trouble := clock_trouble(term.not_before_us, term.not_after_us, time.time_ns() // 1000):
            raise EnrolError(trouble)
        return authority

    def ask(self, authority: bytes, call: Call) -> enrol_pb2.Issued:
        """Make one call.

        Raises:
            EnrolError: it failed, or was refused; in words.
        """
        options = [("grpc.enable_http_proxy", 1 if self.proxy else 0)]
        if self.proxy:
            options.append(("grpc.http_proxy", self.proxy))  # type: ignore[arg-type]  # options are of both kinds
        credentials = grpc.ssl_channel_credentials(pem_of(authority))
        with closing(grpc.secure_channel(self.address, credentials, options=options)) as channel:
            try:
                return call(enrol_pb2_grpc.EnrolStub(channel))
            except grpc.RpcError as error:
                raise EnrolError(_told(error, self.address)) from None


def enroll(desk: Desk, token: Token, files: IdentityFiles) -> int:
    """Make a key, get its certificate for a token, and put both into use; give when it ends [us, UTC].

    Raises:
        EnrolError: there is none; in words.
        OSError: it can't be written.
    """
    authority = desk.authority(token.ca_sha256, "the token")
    made = new_key(token.vantage)
    request = enrol_pb2.EnrollRequest(
        token=token.write(), vantage=token.vantage, csr=made.csr, agent_version=VERSION
    )
    issued = desk.ask(authority, lambda stub: stub.Enroll(request, timeout=_WITHIN_S))
    certificate = made.accept(issued.certificate, token.vantage, authority)
    files.store(key=made.pem, cert=certificate, ca=pem_of(authority))
    return issued.not_after_us


def renew(desk: Desk, vantage: str, tls: Tls, files: IdentityFiles | None) -> int:
    """Get a certificate for a new key by the key in use, and put both into use; give when it ends [us, UTC].

    Args:
        desk: where.
        vantage: whom the certificate names.
        tls: what is in use.
        files: where to; None = only ask whether one would be given.

    Raises:
        EnrolError: there is none; in words.
        OSError: a file can't be read or written.
    """
    try:
        old, ca = first_der(tls.cert), first_der(tls.ca)
    except ValueError as error:
        raise EnrolError(str(error)) from None
    authority = desk.authority(sha256(ca).digest(), "tls.ca")
    made = new_key(vantage)
    request = enrol_pb2.RenewalRequest(
        vantage=vantage,
        csr=made.csr,
        certificate=old,
        signature=sign(Path(tls.key).read_bytes(), statement(made.csr, old)),
        only_ask=files is None,
        agent_version=VERSION,
    )
    issued = desk.ask(authority, lambda stub: stub.Renew(request, timeout=_WITHIN_S))
    if files is None:
        return certificate_term(old).not_after_us
    certificate = made.accept(issued.certificate, vantage, authority)
    files.store(key=made.pem, cert=certificate, ca=Path(tls.ca).read_bytes())
    return issued.not_after_us


def _told(error: grpc.RpcError, address: str) -> str:
    code, details = error.code(), error.details() or ""
    if code in (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT):
        return f"the collector refuses: {details}"
    if "CERTIFICATE_VERIFY_FAILED" in details or "peer certificate" in details.lower():
        host = split_address(address)[0]
        return (
            f"{address}: its certificate is not for the name {host}, or not signed by the authority that it "
            "shows: `sonde-collector pki show` tells its names"
        )
    return f"{address}: {code.name}: {details}"


def _words(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return f"speaks no TLS that we know: {error.reason or error}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return error.strerror or str(error)
