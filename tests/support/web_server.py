"""A web server on loopback with its own authority; it keeps the ClientHellos, and does mischief."""

import contextlib
import datetime as dt
import gzip
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BIG = 300_000
_ALERT = bytes.fromhex("15030300020228")  # fatal, handshake_failure


@dataclass
class Seen:
    """One request."""

    hello: bytes
    alpn: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    address: str


@dataclass
class WebServer:
    """A server that is up.

    Attributes:
        port: on every address of loopback that was asked for.
        ca: PEM file of its authority.
        seen: requests, in order.
        connections: how many were accepted.
        most_at_once: of them, at one time.
        answers: path, or address and path -> status, headers and body.
    """

    port: int
    ca: Path
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def authority(folder: Path, names: list[str]) -> tuple[Path, Path]:
    """Make a CA and a leaf for `names`; gives the CA's PEM, and a PEM of leaf and key."""
    now = dt.datetime.now(dt.UTC)
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def builder(name: str, public: Any) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(_name("Test authority"))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=2))
        )

    ca = (
        builder("Test authority", ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    leaf = (
        builder(names[0], key.public_key())
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    ca_file, leaf_file = folder / "ca.pem", folder / "leaf.pem"
    ca_file.write_bytes(ca.public_bytes(pem))
    leaf_file.write_bytes(
        leaf.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return ca_file, leaf_file


@contextlib.contextmanager
def serving(
    folder: Path, names: list[str], addresses: tuple[str, ...] = ("127.0.0.1",)
) -> Iterator[WebServer]:
    """Serve until the context ends."""
    ca, leaf = authority(folder, names)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf)
    context.set_alpn_protocols(["http/1.1"])
    listeners: list[socket.socket] = []
    port = 0
    for address in addresses:
        listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(64)
        port = listener.getsockname()[1]
        listeners.append(listener)
    server = WebServer(port, ca)
    threads: list[threading.Thread] = []
    stop = threading.Event()

    def accept(listener: socket.socket) -> None:
        while not stop.is_set():
            try:
                connection, peer = listener.accept()
            except OSError:
                return
            server.connections += 1
            thread = threading.Thread(
                target=_serve, args=(server, context, connection, peer[0], stop), daemon=True
            )
            threads.append(thread)
            thread.start()

    acceptors = [threading.Thread(target=accept, args=(one,), daemon=True) for one in listeners]
    for thread in acceptors:
        thread.start()
    try:
        yield server
    finally:
        stop.set()
        for listener in listeners:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for thread in [*acceptors, *threads]:
            thread.join(5)


def _serve(
    server: WebServer, context: ssl.SSLContext, raw: socket.socket, address: str, stop: threading.Event
) -> None:
    with server.lock:
        server.at_once += 1
        server.most_at_once = max(server.most_at_once, server.at_once)
    stream: socket.socket = raw
    try:
        raw.settimeout(10)
        hello = _peek_hello(raw)
        if b"alert." in hello:  # the server name
            raw.recv(len(hello))
            raw.sendall(_ALERT)
            return
        if b"silent." in hello:
            stop.wait(10)
            return
        stream = context.wrap_socket(raw, server_side=True)
        _answer(server, stream, hello, address, stop)
    except (OSError, ValueError):
        pass  # the client went away, which is what some tests are about
    finally:
        with server.lock:
            server.at_once -= 1
        stream.close()


def _peek_hello(raw: socket.socket) -> bytes:
    while True:
        data = raw.recv(5, socket.MSG_PEEK)
        if len(data) == 5:
            length = 5 + struct.unpack(">H", data[3:5])[0]
            data = raw.recv(length, socket.MSG_PEEK)
            if len(data) == length:
                return data
        if not data:
            raise ConnectionError
        time.sleep(0.002)


def _answer(
    server: WebServer, stream: socket.socket, hello: bytes, address: str, stop: threading.Event
) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = stream.recv(65_536)
        if not more:
            return
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += stream.recv(65_536)
    alpn = stream.selected_alpn_protocol() if isinstance(stream, ssl.SSLSocket) else None
    server.seen.append(Seen(hello, alpn or "", method, target, headers, body, address))
    path = target.partition("?")[0]
    if path in _MISCHIEF:
        _MISCHIEF[path](stream, stop)
    else:
        own = stream.getsockname()[0]
        _send(stream, *server.answers.get(own + path, server.answers.get(path, (200, {}, b"hello"))))


def _reset(stream: socket.socket, _stop: threading.Event) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _drip(stream: socket.socket, stop: threading.Event) -> None:
    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not stop.wait(0.05):
        stream.sendall(b".")


def _short(stream: socket.socket, _stop: threading.Event) -> None:
    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nearly")


def _always(status: int, headers: dict[str, str], body: bytes) -> Callable[..., None]:
    return lambda stream, _stop: _send(stream, status, headers, body)


_MISCHIEF: dict[str, Callable[..., Any]] = {
    "/reset": _reset,
    "/drip": _drip,
    "/short": _short,
    "/slow": lambda _stream, stop: stop.wait(10),
    "/big": _always(200, {}, b"x" * BIG),
    "/bomb": _always(200, {"Content-Encoding": "gzip"}, gzip.compress(b"\0" * 20_000_000)),
    "/gzip": _always(200, {"Content-Encoding": "gzip"}, gzip.compress(b"unpacked")),
    "/redirect": _always(302, {"Location": "/elsewhere"}, b""),
    "/cookie": _always(200, {"Set-Cookie": "a=1"}, b"cookie"),
}


def _send(stream: socket.socket, status: int, headers: dict[str, str], body: bytes) -> None:
    lines = [f"{name}: {value}" for name, value in {"Content-Length": str(len(body)), **headers}.items()]
    stream.sendall("\r\n".join([f"HTTP/1.1 {status} Word", *lines, "", ""]).encode() + body)
