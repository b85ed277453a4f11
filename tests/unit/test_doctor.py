"""What a host lacks, and how to mend it."""

import datetime as dt
import socket
import time
from pathlib import Path

import pytest
from attrs import evolve
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from sonde_agent import doctor
from sonde_agent.blocks import Block
from sonde_agent.config import AgentConfig, PolicyRules, SpoolBounds, Tls
from sonde_agent.identity import diagnosis
from sonde_proto.units import Size


def _now_us() -> int:
    return time.time_ns() // 1000


def config(tmp_path: Path, collector: str, spool: SpoolBounds | None = None) -> AgentConfig:
    """A configuration with that collector."""
    return AgentConfig(
        collector=collector, vantage="v", state_dir=tmp_path / "new", spool=spool or SpoolBounds()
    )


def certificate(tmp_path: Path, days: float) -> Tls:
    """A key and a certificate of its own that ends in `days`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "v")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=100))
        .not_valid_after(now + dt.timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "v.pem", tmp_path / "v.key"
    cert_file.write_bytes(b"a comment\n" + made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return Tls(cert_file, cert_file, key_file)


def test_every_finding_that_is_lacking_says_how_to_mend_it(tmp_path: Path) -> None:
    """On this host, whatever it has: each capability is one line, and none that is lacking lacks its cure."""
    findings = list(doctor.examine(config(tmp_path, "127.0.0.1:1")))
    assert [finding.name for finding in findings] == [
        "ICMP echo, IPv4", "ICMP echo, IPv6", "raw sockets", "IPv4 route", "IPv6 route", "kernel timestamps",
        "TUN device", "time sync", "state_dir space", "collector",
    ]  # fmt: skip
    assert {finding.state for finding in findings} <= {"ok", "note", "lacking"}
    assert all(finding.mend for finding in findings if finding.state == "lacking")
    assert not (tmp_path / "new").exists()


def test_the_collector_is_ok_when_it_listens(tmp_path: Path) -> None:
    """A listening port and a listening socket file are ok; else it is lacking, with the system's word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert doctor.collector(config(tmp_path, f"127.0.0.1:{port}")).state == "ok"
    finding = doctor.collector(config(tmp_path, f"127.0.0.1:{port}"))
    assert (finding.state, "Connection refused" in finding.detail) == ("lacking", True)
    path = tmp_path / "c.sock"
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        assert doctor.collector(config(tmp_path, f"unix:{path}")).state == "ok"
    assert doctor.collector(config(tmp_path, f"unix:{path}.gone")).state == "lacking"


def test_too_little_space_is_lacking(tmp_path: Path) -> None:
    """A spool bound beyond what the disk has free is told before it is met."""
    too_much = SpoolBounds(max_bytes=Size(10**18))
    assert doctor.state_space(config(tmp_path, "127.0.0.1:1", too_much)).state == "lacking"


@pytest.mark.parametrize(("days", "state"), [(90, "ok"), (5, "note"), (-5, "lacking")])
def test_a_certificate_is_judged_by_its_end(tmp_path: Path, days: float, state: str) -> None:
    """Long valid is ok, soon over is a note with what to do, over is lacking."""
    finding = diagnosis.certificate(certificate(tmp_path, days), "v", _now_us)
    assert finding.state == state
    assert bool(finding.mend) == (state != "ok")


def test_a_key_of_another_certificate_is_lacking(tmp_path: Path) -> None:
    """Files that do not belong together are found before the collector refuses them."""
    files = certificate(tmp_path, 90)
    (tmp_path / "other").mkdir()
    other = certificate(tmp_path / "other", 90)
    assert diagnosis.certificate(Tls(files.ca, files.cert, other.key), "v", _now_us).state == "lacking"
    (tmp_path / "empty.pem").touch()
    empty = Tls(files.ca, tmp_path / "empty.pem", files.key)
    assert diagnosis.certificate(empty, "v", _now_us).state == "lacking"


def test_blocks_that_have_ended_or_soon_will_are_named(tmp_path: Path) -> None:
    """An operator reads which blocks hold no more, and which end within a week, each with its reason."""
    now = dt.datetime(2027, 1, 10, tzinfo=dt.UTC)
    blocks = tuple(
        Block(f"{name}.example", f"ticket {name}", until)
        for name, until in (
            ("ended", now),
            ("soon", now + dt.timedelta(days=6)),
            ("later", now + dt.timedelta(days=8)),
            ("ever", None),
        )
    )
    told = evolve(config(tmp_path, "unix:/nowhere"), policy=PolicyRules(block=blocks))
    findings = list(doctor.blocks(told, int(now.timestamp() * 1e6)))
    assert [(found.state, found.detail.partition(":")[0]) for found in findings] == [
        ("ok", "3 of 4 in force"),
        ("note", "has ended, and is measured again"),
        ("note", "ends within a week"),
    ]
    assert "ended.example" in findings[1].detail
    assert "2027-01-16T00:00:00Z: ticket soon" in findings[2].detail
    assert not list(doctor.blocks(config(tmp_path, "unix:/nowhere"), 0))
