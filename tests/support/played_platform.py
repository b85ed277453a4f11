"""A platform on this host's loopback, with its names: plays a cassette by HTTPS while a command runs.

A program of its own, for `unshare --net --mount`: it takes port 53 and 443 and puts its own resolver into
/etc/resolv.conf, all of which is gone with its namespaces.

    python -m support.played_platform FOLDER CASSETTES BEHAVIOUR -- COMMAND…
"""

import json
import secrets
import socket
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dns.message
import dns.rrset
from support.web_server import authority

from sonde_unlock.cassette import Incoming, Player, Reply
from sonde_unlock.reading import read_cassettes

CLIENT = "81.2.69.142"
"""What the platform says of its client, as real ones do."""
NETWORK = (
    "link set lo up",
    "link add out type veth peer name far",
    "address add 192.0.2.1/24 dev out",
    "link set far up",
    "link set out up",
    "route add default via 192.0.2.2",
)
"""A way out, without which nothing is asked; nobody is there."""
TELLTALES = Path("telltales.json")
"""In FOLDER: what was told that no cassette may hold."""


class Platform(BaseHTTPRequestHandler):
    """Answers from a cassette, and adds what platforms add: cookies, ids, the client's address."""

    protocol_version = "HTTP/1.1"
    player: Player
    told: list[str]

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        incoming = Incoming(
            method=self.command,
            host=self.headers["host"].lower(),
            path_with_query=self.path,
            headers=tuple((name.lower(), value) for name, value in self.headers.items()),
            body=self.rfile.read(length),
        )
        reply = self.player.answer(incoming)
        if not isinstance(reply, Reply):
            reply = Reply(599, (), b"unmatched")
        own = {name: secrets.token_urlsafe(24) for name in ("cookie", "request", "session")}
        self.told += [*own.values(), CLIENT]
        body = reply.body
        if b"<html" in body:
            extra = {"sessionId": own["session"], "ip": CLIENT, "latitude": 59.3293, "mail": "joe@acme.co.uk"}
            body += f"<!-- {json.dumps(extra)} -->".encode()
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("set-cookie", f"visitor={own['cookie']}; Path=/; Secure")
        self.send_header("x-request-id", own["request"])
        self.send_header("x-client-ip", CLIENT)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = _answer  # noqa: N815  # as the base class calls them

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def names(listener: socket.socket) -> None:
    """Lead every name here."""
    while True:
        data, peer = listener.recvfrom(2048)
        query = dns.message.from_wire(data)
        reply = dns.message.make_response(query)
        name, kind = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
        if kind == "A":
            reply.answer.append(dns.rrset.from_text(name, 60, "IN", "A", "127.0.0.1"))
        listener.sendto(reply.to_wire(), peer)


def main(folder: Path, cassettes: Path, behaviour: str, command: list[str]) -> int:
    """Play while the command runs, and give its exit code."""
    for line in NETWORK:
        subprocess.run(["ip", *line.split()], check=True)
    resolver = folder / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", str(resolver), "/etc/resolv.conf"], check=True)
    (cassette,) = (
        one for one in read_cassettes(cassettes.read_text(), cassettes.name) if one.behaviour == behaviour
    )
    asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asked.bind(("127.0.0.1", 53))
    threading.Thread(target=names, args=(asked,), daemon=True).start()
    Platform.player, Platform.told = Player([cassette]), []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority(folder, sorted(cassette.hosts))[1])
    server = ThreadingHTTPServer(("127.0.0.1", 443), Platform)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    done = subprocess.run(command, check=False)
    (folder / TELLTALES).write_text(json.dumps(Platform.told))
    return done.returncode


if __name__ == "__main__":
    folder, cassettes, behaviour, _, *command = sys.argv[1:]
    sys.exit(main(Path(folder), Path(cassettes), behaviour, command))
