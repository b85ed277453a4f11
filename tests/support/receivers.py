"""What receives notices in tests: an HTTP server and a mail server, with the faults that real ones have."""

import contextlib
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

from support.programs import run


@dataclass(frozen=True)
class Got:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float


@dataclass(frozen=True)
class Answer:
    """What is answered to a request.

    Attributes:
        status: of the answer.
        headers: further ones.
        body: of it.
        after_s: before it is answered.
        reset: no answer: the connection is reset.
        endless: the body never ends.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    after_s: float = 0.0
    reset: bool = False
    endless: bool = False


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that were killed."""


class Webhook:
    """An HTTP server that keeps what it gets and answers as it is told. `with Webhook() as hook:`.

    Args:
        answer: gives the answer to a request, given those before it; 200 when left out.
        port: to listen on; any, when left out.
    """

    def __init__(self, answer: Callable[[Got, list[Got]], Answer] | None = None, port: int = 0) -> None:
        self.got: list[Got] = []
        self.answer = answer or (lambda _got, _before: Answer())
        self._stop = threading.Event()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                hook._serve(self)

            def do_GET(self) -> None:
                hook._serve(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = _Quiet(("127.0.0.1", port), Handler)
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        got = Got(handler.command, handler.path, headers, body, time.monotonic())
        with self._lock:
            answer = self.answer(got, list(self.got))
            self.got.append(got)
        self._stop.wait(answer.after_s)
        with contextlib.suppress(OSError):
            if answer.reset:
                linger = struct.pack("ii", 1, 0)
                handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                handler.close_connection = True
                handler.rfile.close()  # a socket is closed once its files are
                handler.connection.close()
                return
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            if answer.endless:
                handler.end_headers()
                while not self._stop.is_set():
                    handler.wfile.write(b"x" * 65536)
                return
            handler.send_header("Content-Length", str(len(answer.body)))
            handler.end_headers()
            handler.wfile.write(answer.body)


@dataclass
class Mailbox:
    """A mail server (RFC 5321, as much of it as a client needs), with STARTTLS and AUTH PLAIN where told so.

    Attributes:
        rcpt: what it says to each recipient.
        mails: (sender, recipients, text) of what it took.
        logins: what clients sent as AUTH PLAIN.
    """

    tls: ssl.SSLContext | None = None
    rcpt: str = "250 ok"
    mails: list[tuple[str, list[str], str]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    port: int = 0


class _Mail(socketserver.StreamRequestHandler):
    """One conversation."""

    box: Mailbox

    def handle(self) -> None:
        self._private, self._sender, self._to = False, "", list[str]()
        verbs: dict[str, Callable[[str], None]] = {
            "EHLO": self._ehlo,
            "STARTTLS": self._starttls,
            "AUTH PLAIN": self._auth,
            "MAIL FROM": self._mail,
            "RCPT TO": self._rcpt,
            "DATA": self._data,
        }
        with contextlib.suppress(OSError):
            self._talk(verbs)

    def finish(self) -> None:
        """Close what STARTTLS made, too."""
        with contextlib.suppress(OSError):
            super().finish()
        self.connection.close()

    def _talk(self, verbs: dict[str, Callable[[str], None]]) -> None:
        self._say("220 mail.test ESMTP")
        while (words := self._line()) and words.upper() != "QUIT":
            known = next((verb for verb in verbs if words.upper().startswith(verb)), None)
            if known is None:
                self._say("250 ok")
            else:
                verbs[known](words)

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())

    def _line(self) -> str:
        return self.rfile.readline().decode("utf-8", "replace").rstrip("\r\n")

    def _ehlo(self, _: str) -> None:
        offer = "STARTTLS" if self.box.tls and not self._private else "AUTH PLAIN"
        self._say(f"250-mail.test\r\n250 {offer}")

    def _starttls(self, _: str) -> None:
        assert self.box.tls is not None
        self._say("220 go")
        self.connection = self.box.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self._private = True

    def _auth(self, words: str) -> None:
        self.box.logins.append(words.rpartition(" ")[2])
        self._say("235 welcome")

    def _mail(self, words: str) -> None:
        self._sender = words[10:].partition(" ")[0].strip("<>")
        self._say("250 ok")

    def _rcpt(self, words: str) -> None:
        self._to.append(words[8:].strip("<>"))
        self._say(self.box.rcpt)

    def _data(self, _: str) -> None:
        self._say("354 go on")
        lines = []
        while (text := self._line()) != ".":
            lines.append(text)
        self.box.mails.append((self._sender, self._to, "\n".join(lines)))
        self._say("250 taken")


class _MailServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextlib.contextmanager
def mailbox(tls: ssl.SSLContext | None = None) -> Iterator[Mailbox]:
    """Give a running mail server."""
    box = Mailbox(tls)
    handler = type("Handler", (_Mail,), {"box": box})
    with _MailServer(("127.0.0.1", 0), handler) as server:
        box.port = int(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield box
        finally:
            server.shutdown()
            thread.join(5)


def own_certificate(folder: Path) -> tuple[Path, Path]:
    """Give certificate and key of 127.0.0.1, made by openssl."""
    cert, key = folder / "mail.pem", folder / "mail.key"
    done = run(
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-days", "2", "-subj", "/CN=mail.test", "-addext", "subjectAltName=IP:127.0.0.1",
        "-keyout", str(key), "-out", str(cert),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return cert, key
