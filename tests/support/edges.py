"""Real servers on loopback, each with one way to behave or misbehave, and a CA of their own."""

import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Serve = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Authority:
    """A certificate authority that signs what a test asks for."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        self.folder, self.name = folder, name
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = dt.datetime.now(dt.UTC)
        certificate = (
            self._builder(self._subject, self._key.public_key(), now, 365)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / "ca.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, days: int
    ) -> x509.CertificateBuilder:
        start = now - dt.timedelta(days=400)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(now + dt.timedelta(days=days))
        )

    def leaf(self, *names: str, days: int = 30) -> tuple[Path, Path]:
        """Certificate and key files for names or addresses, valid for that many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        sans: list[x509.GeneralName] = []
        for name in names:
            try:
                sans.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                sans.append(x509.DNSName(name))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        now = dt.datetime.now(dt.UTC)
        builder = self._builder(subject, key.public_key(), now, days)
        certificate = builder.add_extension(x509.SubjectAlternativeName(sans), critical=False)
        stem = self.folder / f"{names[0].replace(':', '_')}_{days}"
        files = stem.with_suffix(".crt"), stem.with_suffix(".key")
        files[0].write_bytes(
            certificate.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return files

    def server(
        self, *names: str, days: int = 30, client_ca: Path | None = None, **settings: object
    ) -> ssl.SSLContext:
        """A TLS server's settings with a leaf for these names."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.leaf(*names, days=days))
        if client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca)
        for setting, value in settings.items():
            setattr(context, setting, value)
        return context


class Edge:
    """A TCP server, with or without TLS, that gives each connection to `serve`; it notes the `requests`."""

    def __init__(
        self,
        serve: Serve | bytes,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.serve, self._tls = serve, tls
        self.requests: list[bytes] = []
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, port), family=family)
        self.address, self.port = address, self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.add(connection)
            threading.Thread(target=self._handle, args=(connection,), daemon=True).start()

    def _handle(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            stream = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            with stream:
                if callable(self.serve):
                    self.serve(stream)
                else:
                    self.requests.append(read_request(stream))
                    stream.sendall(self.serve)
        connection.close()

    def url(self, path: str = "/", host: str = "") -> str:
        """The URL of a path on it."""
        shown = host or (f"[{self.address}]" if ":" in self.address else self.address)
        return f"{'https' if self._tls else 'http'}://{shown}:{self.port}{path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()


def read_request(stream: socket.socket) -> bytes:
    """Everything up to the end of the head."""
    data = b""
    while b"\r\n\r\n" not in data and (chunk := stream.recv(4096)):
        data += chunk
    return data


def reset(stream: socket.socket) -> None:
    """Fault: read a little, then RST."""
    stream.recv(16)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def silent(stream: socket.socket) -> None:
    """Fault: read everything, say nothing, until the peer goes."""
    while stream.recv(4096):
        pass


def then_silent(*parts: bytes) -> Serve:
    """Fault: answer with these parts, then keep the connection and say no more."""

    def serve(stream: socket.socket) -> None:
        read_request(stream)
        for part in parts:
            stream.sendall(part)
        silent(stream)

    return serve


def closed_port(address: str = "127.0.0.1") -> int:
    """A port on which nothing listens."""
    with socket.create_server((address, 0)) as listener:
        return int(listener.getsockname()[1])


class DnsServer:
    """A DNS server for one zone, over UDP and TCP; `truncate` answers UDP with TC set and nothing else."""

    def __init__(
        self, records: dict[tuple[str, str], Sequence[str]], *, rcode: int = 0, truncate: bool = False
    ) -> None:
        self._records, self._rcode, self._truncate = records, rcode, truncate
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self._tcp.getsockname()[1]
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", self.port))
        self._threads = [
            threading.Thread(target=run, daemon=True) for run in (self._serve_udp, self._serve_tcp)
        ]

    def _answer(self, data: bytes, *, truncate: bool) -> bytes:
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.Rcode.make(self._rcode))
        asked = query.question[0]
        kind = dns.rdatatype.to_text(asked.rdtype)
        values = self._records.get((asked.name.to_text(omit_final_dot=True).lower(), kind), ())
        if truncate:
            reply.flags |= dns.flags.TC
        elif values:
            reply.answer.append(dns.rrset.from_text(asked.name, 60, "IN", kind, *values))
        return reply.to_wire()

    def _serve_udp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                data, peer = self._udp.recvfrom(4096)
                if not data:
                    return
                self._udp.sendto(self._answer(data, truncate=self._truncate), peer)

    def _serve_tcp(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._tcp.accept()
                with connection:
                    data = connection.recv(4096)
                    reply = self._answer(data[2:], truncate=False)
                    connection.sendall(len(reply).to_bytes(2) + reply)

    @property
    def address(self) -> str:
        """address:port, as a spec names it."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", ("127.0.0.1", self.port))
        with contextlib.suppress(OSError):
            self._tcp.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()


@contextlib.contextmanager
def two_edges(tls: ssl.SSLContext, first: bytes, second: bytes) -> Iterator[tuple[Edge, Edge]]:
    """Two servers of one name: the same port on 127.0.0.1 and 127.0.0.2."""
    with Edge(first, tls) as one, Edge(second, tls, address="127.0.0.2", port=one.port) as two:
        yield one, two
