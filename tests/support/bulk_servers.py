"""Real servers for bulk transfers: nginx for downloads, a swallower of uploads, and ndt7.

`python -m support.bulk_servers swallow|ndt7 ADDRESS PORT` runs one of ours until it is ended.
"""

import base64
import contextlib
import hashlib
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.edges import Serve, read_request
from support.programs import free_port

SINK_BYTES = 8 << 20
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
NGINX = """\
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t;
  uwsgi_temp_path {folder}/t; scgi_temp_path {folder}/t;
  server {{ listen {address}:{port} {tls}; root {folder}/www; }}
}}
"""


def swallow(stream: socket.socket) -> None:
    """Take one PUT after another, and drop its body unread."""
    sink, rest = bytearray(SINK_BYTES), b""
    plain = type(stream) is socket.socket
    with contextlib.suppress(OSError):
        while True:
            while b"\r\n\r\n" not in rest:
                chunk = stream.recv(65_536)
                if not chunk:
                    return
                rest += chunk
            head, _, rest = rest.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            assert length
            left, rest = int(length[1]) - len(rest), b""
            while left > 0:
                most = min(left, SINK_BYTES)
                got = (
                    stream.recv_into(sink, most, socket.MSG_TRUNC) if plain else stream.recv_into(sink, most)
                )
                if not got:
                    return
                left -= got
            stream.sendall(CREATED)


def ndt7(seconds: float = 10.0, *, hang_up: float | None = None) -> Serve:
    """An ndt7 server: sends binary messages and measurements, or takes them, as the path asks."""

    def serve(stream: socket.socket) -> None:
        asked = read_request(stream)
        key = re.search(rb"(?i)sec-websocket-key: (\S+)", asked)
        assert key
        digest = hashlib.sha1(key[1] + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        stream.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Protocol: net.measurementlab.ndt.v7\r\nSec-WebSocket-Accept: "
            + base64.b64encode(digest)
            + b"\r\n\r\n"
        )
        end = time.monotonic() + (seconds if hang_up is None else hang_up)
        with contextlib.suppress(OSError):
            (_ndt7_send if asked.startswith(b"GET /ndt/v7/download ") else _ndt7_take)(stream, end)
            stream.sendall(b"\x88\x02\x03\xe8")
            while stream.recv(1 << 16):
                pass  # until the client has gone: what is unread at our end would reset it

    return serve


def _text(body: bytes) -> bytes:
    return struct.pack(">BBH", 0x81, 126, len(body)) + body


def _ndt7_send(stream: socket.socket, end: float) -> None:
    message = struct.pack(">BBQ", 0x82, 127, 1 << 16) + bytes(1 << 16)
    measured = _text(b'{"AppInfo": {"ElapsedTime": 1}}'.ljust(200))
    stream.sendall(b"\x89\x04ping")
    while time.monotonic() < end:
        stream.sendall(message + measured)


def _ndt7_take(stream: socket.socket, end: float) -> None:
    """Check the framing of every message; tell a measurement every 16."""
    sink, count = bytearray(1 << 20), 0
    while time.monotonic() < end:
        head = _exactly(stream, 14)
        kind, length, size, mask = struct.unpack(">BBQI", head)
        assert (kind, length, mask) == (0x82, 0xFF, 0), head
        while size:
            got = stream.recv_into(sink, min(size, len(sink)))
            if not got:
                return
            size -= got
        count += 1
        if count % 16 == 0:
            stream.sendall(_text(b'{"AppInfo": {"ElapsedTime": 1}}'.ljust(200)))


def _exactly(stream: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = stream.recv(size - len(data))
        if not chunk:
            raise ConnectionError
        data += chunk
    return data


def wait_for_port(address: str, port: int, argv: Sequence[str] = ()) -> None:
    """Until the port accepts, as seen by `argv` in front of the asking program (nsenter …)."""
    ask = f"import socket; socket.create_connection(({address!r}, {port}), 1).close()"
    deadline = time.monotonic() + 10
    command = [*argv, sys.executable, "-S", "-c", ask]
    while subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
        assert time.monotonic() < deadline, f"nothing listens at {address} port {port}"
        time.sleep(0.05)


@contextlib.contextmanager
def running(argv: Sequence[str], address: str, port: int, inside: Sequence[str] = ()) -> Iterator[int]:
    """Run a server, ready when its port accepts; gives its pid, and ends it."""
    process = subprocess.Popen([*inside, *argv], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_port(address, port, inside)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def nginx(
    folder: Path,
    address: str = "127.0.0.1",
    port: int = 0,
    *,
    tls: tuple[Path, Path] | None = None,
    inside: Sequence[str] = (),
) -> Iterator[str]:
    """Serve `folder`/www: 1 GiB as `1g`, 1 MiB as `1m`, 300 bytes as `tiny`; gives the URL."""
    (folder / "www").mkdir(parents=True, exist_ok=True)
    for name, size in (("1g", 1 << 30), ("1m", 1 << 20), ("tiny", 300)):
        with (folder / "www" / name).open("wb") as file:
            file.truncate(size)
    port = port or free_port()
    words = f"ssl; ssl_certificate {tls[0]}; ssl_certificate_key {tls[1]}" if tls else ""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, address=address, port=port, tls=words))
    with running(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], address, port, inside):
        yield f"http{'s' if tls else ''}://{address}:{port}"


def main() -> None:
    """Serve until ended."""
    kind, address, port = sys.argv[1:]
    serve = {"swallow": swallow, "ndt7": ndt7(3600)}[kind]
    listener = socket.create_server(
        (address, int(port)), family=socket.AF_INET6 if ":" in address else socket.AF_INET
    )
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    main()
