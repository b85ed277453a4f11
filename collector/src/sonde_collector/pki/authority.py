"""The authority: itself, certificates for collectors, and what it signs for agents. It writes nothing."""

import datetime as dt
import ipaddress
from collections.abc import Iterable, Sequence

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_DAYS = 3650
SERVER_DAYS = 397  # as long as browsers believe in one
_CURVES = (ec.SECP256R1, ec.SECP384R1)
_LEAST_RSA_BITS = 2048
_SKEW = dt.timedelta(minutes=5)  # of a clock that is behind ours
_SKEW_SHARE = 10  # of a lifetime at most
_LONGEST_CSR = 8192

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class PkiError(Exception):
    """A certificate, key or request can't be used; the text says which and what to do."""


@frozen
class Authority:
    """Who signs.

    Attributes:
        certificate: of the authority itself.
        key: its private key.
    """

    certificate: x509.Certificate
    key: Key

    @property
    def sha256(self) -> bytes:
        """The fingerprint that tokens carry."""
        return self.certificate.fingerprint(hashes.SHA256())

    def server(self, key: Key, names: Sequence[str], *, days: int = SERVER_DAYS) -> x509.Certificate:
        """Give a certificate for a collector that is reached by these names and addresses."""
        now = dt.datetime.now(dt.UTC)
        return _sign(
            self,
            key.public_key(),
            names[0],
            (now - _SKEW, min(now + dt.timedelta(days=days), self.certificate.not_valid_after_utc)),
            (
                (x509.SubjectAlternativeName(alternatives(names)), False),
                (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
            ),
        )

    def agent(
        self, public_key: ec.EllipticCurvePublicKey, vantage: str, lifetime: dt.timedelta
    ) -> x509.Certificate:
        """Give a certificate by which an agent speaks for `vantage`, and which serves for nothing else."""
        now = dt.datetime.now(dt.UTC)
        since = now - min(_SKEW, lifetime / _SKEW_SHARE)
        until = min(now + lifetime, self.certificate.not_valid_after_utc)
        purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
        return _sign(self, public_key, vantage, (since, until), ((purpose, False),))


def new_key() -> ec.EllipticCurvePrivateKey:
    """Give a key that was never given before."""
    return ec.generate_private_key(ec.SECP256R1())


def new_authority(key: Key, name: str) -> Authority:
    """Give an authority that signs itself."""
    now = dt.datetime.now(dt.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = _builder(subject, subject, key.public_key(), (now - _SKEW, now + dt.timedelta(days=CA_DAYS)))
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def alternatives(names: Iterable[str]) -> list[x509.GeneralName]:
    """Give names and addresses as a certificate holds them. **Pure**.

    Raises:
        PkiError: one is neither.
    """
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            try:
                found.append(x509.DNSName(name))
            except ValueError:
                raise PkiError(f'"{name}" is neither a host name nor an address') from None
    return found


def names_of(certificate: x509.Certificate) -> list[str]:
    """Give the names and addresses of a server's certificate. **Pure**."""
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*held.get_values_for_type(x509.DNSName), *map(str, held.get_values_for_type(x509.IPAddress))]


def common_name(certificate: x509.Certificate) -> str:
    """Give the common name; "" where it has none or several. **Pure**."""
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(found[0].value) if len(found) == 1 else ""


def serial_of(certificate: x509.Certificate) -> str:
    """Give the serial number as the database keeps it. **Pure**."""
    return f"{certificate.serial_number:x}"


def is_agents(certificate: x509.Certificate) -> bool:
    """Tell whether it may be shown by who connects: a collector's own can't be an agent's. **Pure**."""
    try:
        held = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return ExtendedKeyUsageOID.CLIENT_AUTH in held


def signed_by(certificate: x509.Certificate, authorities: Iterable[x509.Certificate]) -> bool:
    """Tell whether one of these signed it. **Pure**."""
    for each in authorities:
        try:
            certificate.verify_directly_issued_by(each)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def requested_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    """Give the key of a request that proves to have its other half. **Pure**.

    Raises:
        PkiError: the request can't be read, is not signed by its key, or the key is of another kind.
    """
    if len(csr) > _LONGEST_CSR:
        raise PkiError(f"the certificate request is longer than {_LONGEST_CSR} bytes")
    try:
        request = x509.load_der_x509_csr(csr)
        key = request.public_key()
        whole = request.is_signature_valid
    except (ValueError, TypeError, NotImplementedError) as error:
        raise PkiError(f"the certificate request can't be read: {error}") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, _CURVES):
        raise PkiError("the certificate request's key must be ECDSA on P-256 or P-384")
    if not whole:
        raise PkiError("the certificate request is not signed by its own key")
    return key


def read_key(pem: bytes, what: str) -> Key:
    """Read a private key. **Pure**.

    Raises:
        PkiError: it is none that can be used here; `what` names it.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise PkiError(f"{what}: the key is encrypted: decrypt it, a service can't type a password") from None
    except (ValueError, NotImplementedError):
        raise PkiError(f"{what}: holds no private key in PEM") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
        return key
    raise PkiError(f"{what}: must be ECDSA on P-256 or P-384, or RSA of {_LEAST_RSA_BITS} bits or more")


def read_certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    """Read certificates, the first its owner's. **Pure**.

    Raises:
        PkiError: there is none; `what` names the file.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise PkiError(f"{what}: holds no certificate in PEM") from None


def authority_of(cert: tuple[str, bytes], key: tuple[str, bytes]) -> Authority:
    """Give the authority that two files hold, each as its name and what it holds. **Pure**.

    Raises:
        PkiError: they do not belong together, or may not sign.
    """
    certificate = read_certificates(cert[1], cert[0])[0]
    private = read_key(key[1], key[0])
    if _spki(private.public_key()) != _spki(certificate.public_key()):
        raise PkiError(f"{key[0]}: is not the key of {cert[0]}")
    try:
        may = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        may = False
    if not may:
        raise PkiError(f"{cert[0]}: is no authority's certificate (basicConstraints CA:TRUE is missing)")
    return Authority(certificate, private)


def pem(certificate: x509.Certificate) -> bytes:
    """Give a certificate as a file holds it. **Pure**."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_pem(key: Key) -> bytes:
    """Give a private key as a file holds it. **Pure**."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _spki(key: object) -> bytes:
    given: bytes = key.public_bytes(  # type: ignore[attr-defined]  # every public key has it
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return given


def _sign(
    authority: Authority,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    name: str,
    valid: tuple[dt.datetime, dt.datetime],
    extensions: Iterable[tuple[x509.ExtensionType, bool]],
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    builder = _builder(subject, authority.certificate.subject, public_key, valid)
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(digital_signature=True), True),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), False),
        *extensions,
    ):
        builder = builder.add_extension(extension, critical)
    return builder.sign(authority.key, hashes.SHA256())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    valid: tuple[dt.datetime, dt.datetime],
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
    )


def _usage(**given: bool) -> x509.KeyUsage:
    names = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: given.get(name, False) for name in names})
