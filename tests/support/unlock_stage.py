"""A platform on loopback, with a DNS server, a resolver over TLS, and a signed pack of one rule."""

import contextlib
import dataclasses
import functools
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import dns.rrset
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from support.web_server import WebServer, serving

from sonde_agent.checks.base import Context
from sonde_agent.checks.unlock import asking
from sonde_agent.checks.unlock.check import UnlockCheck
from sonde_agent.config import PolicyRules, Unlock
from sonde_agent.net.icmp import Engines
from sonde_agent.net.names import SystemResolver, TrustedResolver
from sonde_agent.tunnel.helper_rules import Rules
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb
from sonde_unlock import pack

HOST, TRUSTED = "play.example", "trusted.example"
Records = dict[tuple[str, str], list[str]]
"""(name, "A" or "AAAA") -> addresses; a name without any does not exist."""


def rule(port: int, **changes: Any) -> dict[str, Any]:
    """Give the document of a rule that asks `HOST` at a port."""
    return {
        "schema": "unlock-rule/1",
        "slug": "acme",
        "name": "Acme TV",
        "version": "1",
        "checked_on": "2026-11-21",
        "confirmed_live": None,
        "enabled": True,
        "provenance": [{"source": "invented", "date": "2026-11-21", "note": "for tests"}],
        "confidence": "high",
        "evidence": {"level": "title-page", "shows": "A page.", "cannot_show": "That it plays."},
        "families": {"v4": "expected", "v6": "expected"},
        "client": {"profile": "browser", "timeout": 5},
        "steps": [{"id": "title", "request": {"method": "GET", "url": f"https://{HOST}:{port}/title"}}],
        "verdicts": [
            {"when": [{"any_of": "title", "status": 403}], "verdict": "blocked"},
            {"when": [{"any_of": "title", "body": "not here"}], "verdict": "not_in_region",
             "region": {"const": "SE"}},
            {"when": [{"any_of": "title", "body": "play now"}], "verdict": "available", "scope": "full",
             "region": {"const": "GB"}},
        ],
        **changes,
    }  # fmt: skip


@dataclass
class Stage:
    """What a test has: answers to set, and what was asked."""

    folder: Path
    server: WebServer
    context: Context
    system: Records
    trusted: Records
    dns_asked: list[tuple[str, str]] = field(default_factory=list)
    check: UnlockCheck = field(default_factory=UnlockCheck)

    def says(self, body: str, status: int = 200, **headers: str) -> None:
        """Let the platform answer so."""
        self.server.answers["/title"] = (status, headers, body.encode())

    def put_pack(self, *documents: dict[str, Any]) -> None:
        """Write a signed pack of these rules."""
        # Not by `pack.build`, which refuses ports: a loopback without root has no 443.
        content = {"schema": pack.SCHEMA, "version": "7", "created": "2026-11-21", "rules": documents}
        (self.folder / "rules.pack").write_bytes(pack.sign(json.dumps(content).encode(), self.key))

    @functools.cached_property
    def key(self) -> bytes:
        """The private key that this host believes."""
        return (self.folder / "key.pem").read_bytes()

    async def run(
        self, *slugs: str, families: tuple[int, ...] = (4,), target: str = "", **changes: Any
    ) -> list[pb.Unlock]:
        """Run the check once; give its rows."""
        wanted = [control_pb2.UnlockRule(slug=slug, version=version) for slug, _, version in
                  (one.partition("@") for one in slugs or ("acme",))]  # fmt: skip
        spec = control_pb2.UnlockSpec(rules=wanted, families=families)
        task = control_pb2.Task(
            key="k", target=target, timeout_ms=changes.pop("timeout_ms", 20_000), unlock=spec
        )
        results = await self.check.run(task, dataclasses.replace(self.context, **changes))
        assert {result.target for result in results} <= {target}
        return [result.unlock for result in results]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A platform that answers "play now", and both resolvers that lead there."""
    key = ed25519.Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    (tmp_path / "key.pem").write_bytes(key)
    system: Records = {(HOST, "A"): ["127.0.0.1"], (HOST, "AAAA"): ["::1"]}
    trusted: Records = {(HOST, "A"): ["127.0.0.1"], (HOST, "AAAA"): ["::1"]}
    asked: list[tuple[str, str]] = []
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(serving(tmp_path, [HOST, TRUSTED], ("127.0.0.1", "127.0.0.2", "::1")))
        plain_port = stack.enter_context(_dns(system, asked))
        secure_port = stack.enter_context(_dns_over_tls(trusted, tmp_path / "leaf.pem"))
        monkeypatch.setattr(
            asking, "SystemResolver", functools.partial(SystemResolver, ("127.0.0.1",), plain_port)
        )
        monkeypatch.setattr(asking, "TrustedResolver", functools.partial(TrustedResolver, port=secure_port))
        # The routing table of the machine that tests has no say on loopback.
        monkeypatch.setattr("sonde_agent.checks.unlock.check.host_lacks", lambda _family: False)
        unlock = Unlock(
            pack=tmp_path / "rules.pack",
            secrets=tmp_path / "secrets",
            trusted_resolver="127.0.0.1",
            trusted_resolver_name=TRUSTED,
            ca_file=server.ca,
        )
        rules = Rules(policy=PolicyRules(rule_keys=(pack.public_key(key),)), unlock=unlock)
        up = Stage(tmp_path, server, Context(icmp=Engines(), rules=rules), system, trusted, asked)
        up.says("play now")
        up.put_pack(rule(server.port))
        yield up


def _reply(data: bytes, records: Records, asked: list[tuple[str, str]] | None = None) -> bytes:
    query = dns.message.from_wire(data)
    question = query.question[0]
    name, kind = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
    if asked is not None:
        asked.append((name, kind))
    reply = dns.message.make_response(query)
    if addresses := records.get((name, kind)):
        reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *addresses))
    elif not any(known == name for known, _ in records):
        reply.set_rcode(dns.rcode.NXDOMAIN)
    return reply.to_wire()


@contextlib.contextmanager
def _dns(records: Records, asked: list[tuple[str, str]]) -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                data, peer = sock.recvfrom(2048)
                if not data:
                    return
                sock.sendto(_reply(data, records, asked), peer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield sock.getsockname()[1]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
            end.sendto(b"", sock.getsockname())
        thread.join(5)


@contextlib.contextmanager
def _dns_over_tls(records: Records, leaf: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                raw, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError), raw, context.wrap_socket(raw, server_side=True) as stream:
                length = int.from_bytes(stream.recv(2), "big")
                reply = _reply(stream.recv(length), records)
                stream.sendall(len(reply).to_bytes(2, "big") + reply)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)
