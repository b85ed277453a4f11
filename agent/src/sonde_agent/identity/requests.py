"""Keys, certificate requests and what is signed with keys. Costs 14 MB: for programs that end soon."""

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class EnrolError(Exception):
    """There is no certificate; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made here, and the request for its certificate."""

    key: ec.EllipticCurvePrivateKey
    csr: bytes

    @property
    def pem(self) -> bytes:
        """The key, for its file alone."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def accept(self, certificate: bytes, vantage: str, ca: bytes) -> bytes:
        """Give an issued certificate in PEM, once it is proven to be ours.

        Args:
            certificate: DER, as issued.
            vantage: whom it must name.
            ca: DER of who must have signed it.

        Raises:
            EnrolError: it is not what was asked for.
        """
        try:
            issued = x509.load_der_x509_certificate(certificate)
            issued.verify_directly_issued_by(x509.load_der_x509_certificate(ca))
            ours = _spki(issued.public_key()) == _spki(self.key.public_key())
        except (ValueError, TypeError, InvalidSignature):
            ours = False
        if not ours or issued.subject != _named(vantage):
            raise EnrolError("the collector issued a certificate that was not asked for: it was not taken")
        return issued.public_bytes(serialization.Encoding.PEM)


def new_key(vantage: str) -> NewKey:
    """Make a key and the request that proves to have it."""
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(_named(vantage)).sign(key, hashes.SHA256())
    return NewKey(key, request.public_bytes(serialization.Encoding.DER))


def sign(key_pem: bytes, message: bytes) -> bytes:
    """Sign with a key in use.

    Raises:
        EnrolError: it is no such key.
    """
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError) as error:
        raise EnrolError(f"tls.key: can't be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise EnrolError("tls.key: only ECDSA keys can renew a certificate: enrol with a token")
    return key.sign(message, ec.ECDSA(hashes.SHA256()))


def pem_of(der: bytes) -> bytes:
    """Give a certificate as a file holds it."""
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def _named(vantage: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, vantage)])


def _spki(key: object) -> bytes:
    given: bytes = key.public_bytes(  # type: ignore[attr-defined]  # every public key has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return given
