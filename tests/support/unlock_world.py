"""`python -m support.unlock_world FOLDER COMMAND…`: runs a command where every platform is on this machine.

In network and mount namespaces of its own: one HTTPS server on port 443 plays the cassettes of FOLDER
(*.yaml), one DNS server on port 53 leads every name there, and /etc/resolv.conf names it. FOLDER gets
`ca.pem`. No name has an IPv6 address.
"""

import contextlib
import ctypes
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import dns.message
import dns.rrset
from support.web_server import authority

from sonde_unlock.cassette import Cassette, Fault, Incoming, Player
from sonde_unlock.reading import read_cassettes

ADDRESS = "127.0.0.80"
_NEW_USER, _NEW_NET, _NEW_MOUNTS = 0x10000000, 0x40000000, 0x00020000
_PRIVATE, _RECURSIVE, _BIND = 1 << 18, 1 << 14, 1 << 12
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """Be the world for one command; gives its exit code."""
    folder, command = Path(sys.argv[1]), sys.argv[2:]
    _enter()
    cassettes = [
        one
        for file in sorted(folder.glob("*.yaml"))
        for one in read_cassettes(file.read_text(encoding="utf-8"), file.name)
    ]
    names = sorted({host for one in cassettes for host in one.hosts} | {"trusted.example"})
    _, leaf = authority(folder, names)
    player, lock = Player(_one_each(cassettes)), threading.Lock()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf)
    web = socket.create_server((ADDRESS, 443), backlog=128)
    names_socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names_socket.bind((ADDRESS, 53))
    threading.Thread(target=_serve_names, args=(names_socket,), daemon=True).start()
    threading.Thread(target=_serve_web, args=(web, context, player, lock), daemon=True).start()
    return subprocess.run(command, check=False).returncode


def _one_each(cassettes: list[Cassette]) -> list[Cassette]:
    """Give of each platform the first behaviour that gives access, else the first."""
    chosen: dict[str, Cassette] = {}
    for one in cassettes:
        known = chosen.get(one.slug)
        if known is None or (known.expect.verdict != "available" and one.expect.verdict == "available"):
            chosen[one.slug] = one
    return list(chosen.values())


def _enter() -> None:
    as_root = os.geteuid() == 0
    uid, gid = os.geteuid(), os.getegid()
    if _libc.unshare((0 if as_root else _NEW_USER) | _NEW_NET | _NEW_MOUNTS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if not as_root:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    for command in ("ip link set lo up", "ip route add default dev lo", "ip -6 route add default dev lo"):
        subprocess.run(command.split(), check=True)
    _libc.mount(b"none", b"/", None, _PRIVATE | _RECURSIVE, None)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(f"nameserver {ADDRESS}\n")
        file.flush()
        real = os.path.realpath("/etc/resolv.conf")
        if _libc.mount(file.name.encode(), real.encode(), None, _BIND, None) != 0:
            raise OSError(ctypes.get_errno(), "mount")


def _serve_names(sock: socket.socket) -> None:
    while True:
        data, peer = sock.recvfrom(2048)
        query = dns.message.from_wire(data)
        question, reply = query.question[0], dns.message.make_response(query)
        if question.rdtype == dns.rdatatype.A:
            reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", ADDRESS))
        sock.sendto(reply.to_wire(), peer)


def _serve_web(web: socket.socket, context: ssl.SSLContext, player: Player, lock: threading.Lock) -> None:
    while True:
        raw, _ = web.accept()
        threading.Thread(target=_answer, args=(raw, context, player, lock), daemon=True).start()


def _answer(raw: socket.socket, context: ssl.SSLContext, player: Player, lock: threading.Lock) -> None:
    with contextlib.suppress(OSError), raw, context.wrap_socket(raw, server_side=True) as stream:
        data = b""
        while b"\r\n\r\n" not in data:
            data += stream.recv(65_536)
        head, _, body = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = tuple(
            (name.lower(), value.strip()) for name, _, value in (one.partition(":") for one in lines)
        )
        known = dict(headers)
        while len(body) < int(known.get("content-length", 0)):
            body += stream.recv(65_536)
        with lock:
            outcome = player.answer(Incoming(method, known["host"], target, headers, body))
        if outcome is None:
            sys.stderr.write(f"unmatched: {method} {known['host']}{target}\n")
            stream.sendall(b"HTTP/1.1 599 Unmatched\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        elif not isinstance(outcome, Fault):
            told = "".join(f"{name}: {value}\r\n" for name, value in outcome.headers)
            lengths = f"Content-Length: {len(outcome.body)}\r\nConnection: close\r\n"
            stream.sendall(f"HTTP/1.1 {outcome.status} X\r\n{told}{lengths}\r\n".encode() + outcome.body)


if __name__ == "__main__":
    sys.exit(main())
