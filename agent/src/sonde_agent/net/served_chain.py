"""What a TLS server shows of itself, and whether it takes what we show: a handshake, no word after it."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

WITHIN_S = 10.0
_SETTLES_S = 1.0  # a server that refuses our certificate says so after the handshake (TLS 1.3)
_DER = 2  # _ssl.ENCODING_DER
_LONGEST_ANSWER = 4096


def served_chain(address: tuple[str, int], *, proxy: str = "", within_s: float = WITHIN_S) -> list[bytes]:
    """Give the certificates that a server shows, in DER, its own first. They prove nothing yet.

    Args:
        address: host and port.
        proxy: "http://host:port" of a proxy that knows CONNECT; empty = none.
        within_s: for all of it.

    Raises:
        OSError: it can't be reached, or speaks no TLS.
    """
    context = _context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        _connected(address, proxy, within_s) as sock,
        context.wrap_socket(sock, server_hostname=address[0]) as it,
    ):
        if hasattr(it, "get_unverified_chain"):
            return list(it.get_unverified_chain())
        # Before Python 3.13 the same call has no public name.
        return [each.public_bytes(_DER) for each in it._sslobj.get_unverified_chain()]  # type: ignore[attr-defined] # noqa: SLF001


def refusal(
    address: tuple[str, int], ca: Path, cert: Path, key: Path, *, proxy: str = "", within_s: float = WITHIN_S
) -> str:
    """Give why server and we do not accept each other's certificates, in OpenSSL's words; "" if we do.

    Raises:
        OSError: it can't be reached, or a file can't be read.
    """
    context = _context()
    context.load_verify_locations(ca)
    context.load_cert_chain(cert, key)
    with _connected(address, proxy, within_s) as sock:
        try:
            with context.wrap_socket(sock, server_hostname=address[0]) as session:
                session.settimeout(_SETTLES_S)
                with contextlib.suppress(TimeoutError):
                    if not session.recv(1):  # gRPC begins with its settings, or closes without a word
                        return "it does not accept ours: it closed the connection after the handshake"
        except ssl.SSLCertVerificationError as error:
            return f"we do not accept its certificate: {error.verify_message}"
        except ssl.SSLError as error:
            return f"it does not accept ours: {(error.reason or str(error)).lower().replace('_', ' ')}"
        except ConnectionError:
            return "it does not accept ours: it reset the connection"
    return ""


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    return context


@contextlib.contextmanager
def _connected(address: tuple[str, int], proxy: str, within_s: float) -> Iterator[socket.socket]:
    parts = urlsplit(proxy)
    first = (parts.hostname or "", parts.port or 80) if proxy else address
    with socket.create_connection(first, within_s) as sock:
        if proxy:
            _tunnel(sock, address)
        yield sock


def _tunnel(sock: socket.socket, address: tuple[str, int]) -> None:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    sock.sendall(f"CONNECT {host}:{address[1]} HTTP/1.1\r\nHost: {host}:{address[1]}\r\n\r\n".encode())
    answer = b""
    while b"\r\n\r\n" not in answer:
        more = sock.recv(1) if len(answer) < _LONGEST_ANSWER else b""  # what follows is the server's
        if not more:
            raise ConnectionResetError(0, "the proxy closed the connection")
        answer += more
    status = answer.split(b"\r\n", 1)[0].decode("latin-1")
    if " 200" not in status:
        raise ConnectionRefusedError(0, f"the proxy answered {status!r}")
