"""What the authority signs, and what it does not."""

import datetime as dt
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.pki import authority as pki
from sonde_collector.pki.authority import PkiError
from sonde_collector.pki.folder import Folder

AUTHORITY = pki.new_authority(pki.new_key(), "test")


def _request(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, name: str = "root") -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    wants_ca = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    algorithm = hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return wants_ca.sign(key, algorithm).public_bytes(Encoding.DER)


def test_a_request_decides_about_its_key_alone() -> None:
    """Name and powers that it asks for count for nothing: they are the token's, and a client's."""
    key = pki.requested_key(_request(pki.new_key(), "nyc1"))
    certificate = AUTHORITY.agent(key, "ams1", dt.timedelta(days=30))
    assert pki.common_name(certificate) == "ams1"
    assert pki.signed_by(certificate, [AUTHORITY.certificate])
    limits = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not limits.ca
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert dt.timedelta(days=30) <= life <= dt.timedelta(days=30, minutes=6)


def test_no_certificate_outlives_its_authority() -> None:
    """However long a life is asked for."""
    key = pki.new_key().public_key()
    long = AUTHORITY.agent(key, "ams1", dt.timedelta(days=100_000 // 10))
    assert long.not_valid_after_utc == AUTHORITY.certificate.not_valid_after_utc


def test_a_collectors_certificate_is_no_agents() -> None:
    """Named like a vantage, it can still not be renewed as one."""
    served = AUTHORITY.server(pki.new_key(), ["ams1", "192.0.2.1"])
    assert pki.names_of(served) == ["ams1", "192.0.2.1"]
    assert not pki.is_agents(served)


def test_other_keys_and_foreign_signatures_are_refused() -> None:
    """A key of another kind, a request signed by another key, one that is too long."""
    whole = _request(pki.new_key())
    with pytest.raises(PkiError, match="P-256 or P-384"):
        pki.requested_key(_request(ed25519.Ed25519PrivateKey.generate()))
    with pytest.raises(PkiError, match="P-256 or P-384"):
        pki.requested_key(_request(ec.generate_private_key(ec.SECP521R1())))
    with pytest.raises(PkiError, match="longer than"):
        pki.requested_key(bytes(10_000))
    with pytest.raises(PkiError, match="not signed by its own key"):
        pki.requested_key(whole.replace(b"root", b"toor"))


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_clear_refusal(data: bytes) -> None:
    """Nothing that a stranger sends makes the port fail in another way."""
    with pytest.raises(PkiError):
        pki.requested_key(data)


def test_the_folder_is_made_once_and_never_overwritten(tmp_path: Path) -> None:
    """Twice is once; a certificate that is missing is made for the key that is there; modes are 0600."""
    folder = Folder(tmp_path / "pki")
    assert len(folder.init(["localhost"], None, "CA")) == 4
    before = {path: path.read_bytes() for path in folder.path.iterdir()}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in before)
    assert folder.init(["other"], None, "CA") == []
    assert {path: path.read_bytes() for path in folder.path.iterdir()} == before
    folder.ca_cert.unlink()
    folder.cert.unlink()
    assert folder.init(["localhost"], None, "CA") == [folder.ca_cert, folder.cert]
    assert folder.ca_key.read_bytes() == before[folder.ca_key]
    assert folder.key.read_bytes() == before[folder.key]
    assert pki.signed_by(folder.certificate(), [folder.authority().certificate])


def test_a_renewed_collector_keeps_its_authority(tmp_path: Path) -> None:
    """Only its own certificate and key are new."""
    folder = Folder(tmp_path / "pki")
    folder.init(["localhost"], None, "CA")
    before = {path: path.read_bytes() for path in folder.path.iterdir()}
    assert folder.renew(["a.example", "192.0.2.7"]) == [folder.key, folder.cert]
    after = {path: path.read_bytes() for path in folder.path.iterdir()}
    assert {path for path in after if after[path] != before[path]} == {folder.key, folder.cert}
    assert pki.names_of(folder.certificate()) == ["a.example", "192.0.2.7"]


def test_an_authority_can_be_brought(tmp_path: Path) -> None:
    """Its files are copied; another's key, a leaf, and a second authority are refused, each in one line."""
    ours, other = (pki.new_authority(pki.new_key(), name) for name in ("ours", "other"))
    paths = {}
    for name, authority in (("ours", ours), ("other", other)):
        paths[name] = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
        paths[name][0].write_bytes(pki.pem(authority.certificate))
        paths[name][1].write_bytes(pki.key_pem(authority.key))
    folder = Folder(tmp_path / "pki")
    with pytest.raises(PkiError, match="is not the key of"):
        folder.init(["localhost"], (paths["ours"][0], paths["other"][1]), "CA")
    folder.init(["localhost"], paths["ours"], "CA")
    assert folder.authority().sha256 == ours.sha256
    assert folder.init(["localhost"], paths["ours"], "CA") == []
    with pytest.raises(PkiError, match="another authority"):
        folder.init(["localhost"], paths["other"], "CA")
    with pytest.raises(PkiError, match="no authority's certificate"):
        Folder(tmp_path / "leaf").init(["localhost"], (folder.cert, folder.key), "CA")
