"""The collector's own certificates, taken up again by themselves when their files change."""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
import structlog

from sonde_collector.config import Grpc, Http

EVERY_S = 5.0  # between two looks at the files of the HTTP port; gRPC looks at each connection's beginning
_log = structlog.get_logger()


class TlsError(Exception):
    """The files can't be used; the text says which."""


class Files:
    """Files that are used together, and whether they changed since they were last read whole.

    Args:
        paths: certificate chain, key, and maybe who signs clients' certificates; all PEM.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self._seen: tuple[tuple[int, int, int], ...] = ()
        self._refused: tuple[tuple[int, int, int], ...] = ()

    def read(self) -> list[bytes]:
        """Give what they hold, proven to fit together: gRPC itself would only fail at every handshake.

        Raises:
            TlsError: they can't be read, or don't fit.
        """
        try:
            seen = self._stamps()
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.paths[0], self.paths[1])
            for path in self.paths[2:]:
                context.load_verify_locations(path)
            held = [path.read_bytes() for path in self.paths]
            if self._stamps() != seen:
                raise TlsError("they are being written")
        except OSError as error:  # ssl.SSLError is one
            raise TlsError(str(error)) from None
        self._seen = seen
        return held

    def changed(self) -> list[bytes] | None:
        """Give what they hold if it is new and fits; a misfit is told once, and the old stay in use."""
        try:
            stamps = self._stamps()
        except OSError:
            stamps = ()
        if stamps in (self._seen, self._refused):
            return None
        try:
            held = self.read()
        except TlsError as error:
            self._refused = stamps
            _log.warning(
                "certificate_not_taken_up", files=list(map(str, self.paths)), error=str(error),
                advice="the last good one stays in use",
            )  # fmt: skip
            return None
        self._refused = ()
        _log.info("certificate_taken_up", files=list(map(str, self.paths)))
        return held

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in map(Path.stat, self.paths))


def agents_credentials(settings: Grpc) -> grpc.ServerCredentials | None:
    """Give what agents' connections need: certificates on both sides. None where plain text is configured.

    Raises:
        TlsError: the files don't fit.
    """
    if settings.tls_cert is None or settings.tls_key is None or settings.client_ca is None:
        return None
    return _credentials(Files((settings.tls_cert, settings.tls_key, settings.client_ca)), clients=True)


def enrol_credentials(settings: Grpc, ca: bytes) -> grpc.ServerCredentials:
    """Give what enrolment needs: the server's certificate, and with it the authority's, for its fingerprint.

    Args:
        settings: whose certificate and key are used.
        ca: the authority's certificate, PEM.

    Raises:
        TlsError: the files don't fit.
    """
    assert settings.tls_cert is not None, "config sees to it"
    assert settings.tls_key is not None, "config sees to it"
    return _credentials(Files((settings.tls_cert, settings.tls_key)), clients=False, chain=b"\n" + ca)


def _credentials(files: Files, *, clients: bool, chain: bytes = b"") -> grpc.ServerCredentials:
    def configuration(held: Sequence[bytes]) -> grpc.ServerCertificateConfiguration:
        pair = [(held[1], held[0] + chain)]
        return grpc.ssl_server_certificate_configuration(pair, root_certificates=held[2] if clients else None)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        held = files.changed()
        return None if held is None else configuration(held)

    return grpc.dynamic_ssl_server_credentials(
        configuration(files.read()),
        fetch,  # type: ignore[arg-type]  # None = as before: says its documentation, and does it
        require_client_authentication=clients,
    )


async def keep_http_certificate(settings: Http, context: Callable[[], ssl.SSLContext | None]) -> None:
    """Load the HTTP port's certificate into the context in use whenever its files change, for ever.

    Args:
        settings: where they are.
        context: gives the port's context, once it serves.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return
    files = Files((settings.tls_cert, settings.tls_key))
    files.read()
    while True:
        await asyncio.sleep(EVERY_S)
        using = context()
        if using is not None and files.changed() is not None:
            using.load_cert_chain(settings.tls_cert, settings.tls_key)
