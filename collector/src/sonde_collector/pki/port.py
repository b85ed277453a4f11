"""The port where agents enrol: TLS by the server alone, few calls at once."""

import datetime as dt

import grpc
from cryptography import x509

from sonde_collector.config import CollectorConfig, Enroll, Grpc
from sonde_collector.db.pool import Database
from sonde_collector.pki import authority as pki
from sonde_collector.pki.authority import Authority, PkiError
from sonde_collector.pki.server_tls import TlsError, enrol_credentials
from sonde_collector.pki.service import EnrolService, Rules
from sonde_collector.read.listen import StartError
from sonde_proto.v1 import enrol_pb2_grpc

_CALLS = 64  # at once; more are told to come later
_OPTIONS = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 64 << 10),
    ("grpc.max_connection_idle_ms", 30_000),
    ("grpc.max_concurrent_streams", 4),
)


def enrol_server(config: CollectorConfig, database: Database) -> grpc.aio.Server | None:
    """Give the server, listening and not started; None where there is no authority to sign.

    Raises:
        StartError: the authority can't be used, did not sign the collector's certificate, or the address is
            taken.
    """
    settings = config.enroll
    try:
        authority = signer(settings)
        if authority is None:
            return None
        rules = Rules(authority, _accepted(config.grpc, authority), dt.timedelta(seconds=settings.lifetime))
        credentials = enrol_credentials(config.grpc, pki.pem(authority.certificate))
    except (PkiError, TlsError, OSError) as error:
        raise StartError(f"enroll: {error}") from None
    server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_CALLS)
    enrol_pb2_grpc.add_EnrolServicer_to_server(EnrolService(database, rules), server)
    try:
        server.add_secure_port(settings.listen, credentials)
    except RuntimeError:
        raise StartError(
            f'enroll.listen: can\'t listen on "{settings.listen}": it is in use, or not an address of '
            "this host"
        ) from None
    return server


def signer(settings: Enroll) -> Authority | None:
    """Give the authority that signs; None where none is set.

    Raises:
        PkiError, OSError: it can't be used.
    """
    if settings.ca_cert is None or settings.ca_key is None:
        return None
    cert, key = settings.ca_cert, settings.ca_key
    return pki.authority_of((str(cert), cert.read_bytes()), (str(key), key.read_bytes()))


def _accepted(settings: Grpc, authority: Authority) -> list[x509.Certificate]:
    """Give who signs what agents may show, proven to fit with what enrolled agents get and accept."""
    assert settings.tls_cert is not None, "config sees to it"
    assert settings.client_ca is not None, "config sees to it"
    accepted = pki.read_certificates(settings.client_ca.read_bytes(), str(settings.client_ca))
    if authority.certificate not in accepted:
        raise PkiError(
            f"ca_cert is not in {settings.client_ca}: agents that enrol here would not be accepted; add it"
        )
    own = pki.read_certificates(settings.tls_cert.read_bytes(), str(settings.tls_cert))[0]
    if not pki.signed_by(own, [authority.certificate]):
        raise PkiError(
            f"ca_cert did not sign {settings.tls_cert}: agents that enrol here would not accept it"
        )
    return accepted
