"""The collector's own certificates change under it: who is connected stays, who comes sees the new one."""

import hashlib
import secrets
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.books import events, without_traceback
from support.identity import House
from support.postgres import Server
from support.programs import eventually, run

pytestmark = pytest.mark.postgres
WAIT_S = 60.0


@pytest.fixture
def house(postgres_server: Server, tmp_path: Path) -> Iterator[House]:
    """One collector, TLS on every port."""
    with House(tmp_path / "house", postgres_server) as house:
        yield house


def _shown(port: int) -> str:
    """Fingerprint of the certificate that a port shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), 10) as sock, context.wrap_socket(sock) as session:
        return hashlib.sha256(session.getpeercert(binary_form=True) or b"").hexdigest()


def test_every_port_takes_up_a_new_certificate(house: House) -> None:
    """`pki renew` beside a running collector: all three ports show it, and no connection of an agent ends."""
    agent, collector = house.enrolled("ams1"), house.collectors[0]
    agent.program.start()
    house.delivers(agent)
    ports = (collector.grpc, collector.enroll, collector.http)
    before, connections = {_shown(port) for port in ports}, house.connections(agent)
    assert len(before) == 1
    done = run("sonde-collector", "pki", "renew", "--dir", str(house.pki.path))
    assert done.returncode == 0, done.stderr
    eventually(lambda: all(_shown(port) not in before for port in ports), WAIT_S, collector.program.tail)
    assert len({_shown(port) for port in ports}) == 1
    assert len(events(collector.program, "certificate_taken_up")) == len(ports)
    house.delivers(agent)
    assert (house.connections(agent), agent.errors()) == (connections, [])
    assert run("sonde-agent", "renew", "--config", str(agent.config)).returncode == 0
    agent.program.kill()
    agent.program.start()
    house.delivers(agent)
    assert agent.program.stop() == 0
    without_traceback([agent.program, collector.program])


def test_half_a_change_is_not_taken_up(house: House) -> None:
    """A key that is not the certificate's is told once a port; the last good pair serves until then."""
    collector = house.collectors[0]
    ports = (collector.grpc, collector.enroll, collector.http)
    before = {_shown(port) for port in ports}
    cert = house.pki.cert.read_bytes()
    assert run("sonde-collector", "pki", "renew", "--dir", str(house.pki.path)).returncode == 0
    new = house.pki.cert.read_bytes()
    _replace(house.pki.cert, cert)  # now the old certificate with the new key

    def told() -> int:
        for port in ports:
            assert _shown(port) in before
        return len(events(collector.program, "certificate_not_taken_up"))

    eventually(lambda: told() >= len(ports), WAIT_S, collector.program.tail)
    for _ in range(3):
        assert told() == len(ports), "asked again, nothing new is said of the same files"
    _replace(house.pki.cert, new)
    eventually(lambda: all(_shown(port) not in before for port in ports), WAIT_S, collector.program.tail)
    without_traceback([collector.program])


def _replace(path: Path, data: bytes) -> None:
    scratch = path.with_name(secrets.token_hex(4))
    scratch.write_bytes(data)
    scratch.replace(path)
