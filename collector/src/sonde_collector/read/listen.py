"""The HTTP port: listening, and HTTPS where there is a certificate."""

import contextlib
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from sonde_collector.config import Http
from sonde_collector.config_rules import split_address

_BACKLOG = 128
_CONNECTIONS = (
    1000  # at once; more are told to come later, so that idle ones can't take every file descriptor
)


class StartError(Exception):
    """The collector can't start; the text says why and what to do."""


class _Http(uvicorn.Server):
    """Uvicorn without its signal handlers: stopping is the collector's business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def listen_http(listen: str) -> socket.socket:
    """Give a listening socket.

    Raises:
        StartError: the address is in use, or not one of this host.
    """
    host, port = split_address(listen)
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=_BACKLOG
        )
    except OSError as error:
        raise StartError(f'http.listen: can\'t listen on "{listen}": {error.strerror or error}') from None


def http_server(settings: Http, app: ASGIApp) -> uvicorn.Server:
    """Give the server for that socket.

    Raises:
        StartError: the certificate can't be used.
    """
    if settings.tls_cert is not None and settings.tls_key is not None:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.tls_cert, settings.tls_key)
        except (ssl.SSLError, OSError) as error:
            raise StartError(
                f"http.tls_cert, tls_key: not a certificate and its own key, both in PEM: {error}"
            ) from None
    return _Http(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",
            proxy_headers=False,  # what they say of a client is anybody's word
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=1,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )
    )
