"""The folder that `pki init` fills: the authority, this collector's certificate. It overwrites nothing."""

import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen
from cryptography import x509

from sonde_collector.pki import authority as pki
from sonde_collector.pki.authority import Authority, PkiError


@frozen
class Folder:
    """Where its files are.

    Attributes:
        path: the folder.
    """

    path: Path

    @property
    def ca_cert(self) -> Path:
        """The authority's certificate: also what agents and this collector trust."""
        return self.path / "ca.pem"

    @property
    def ca_key(self) -> Path:
        """The authority's key."""
        return self.path / "ca.key"

    @property
    def cert(self) -> Path:
        """This collector's certificate."""
        return self.path / "collector.pem"

    @property
    def key(self) -> Path:
        """Its key."""
        return self.path / "collector.key"

    def authority(self) -> Authority:
        """Read the authority.

        Raises:
            PkiError: it is not whole.
            OSError: a file can't be read.
        """
        return pki.authority_of(
            (str(self.ca_cert), self.ca_cert.read_bytes()), (str(self.ca_key), self.ca_key.read_bytes())
        )

    def certificate(self) -> x509.Certificate:
        """Read this collector's certificate.

        Raises:
            PkiError, OSError: there is none.
        """
        return pki.read_certificates(self.cert.read_bytes(), str(self.cert))[0]

    def init(self, names: Sequence[str], own: tuple[Path, Path] | None, ca_name: str) -> list[Path]:
        """Make what is missing; give the files that were made.

        Args:
            names: what the collector is reached by; the first is its common name.
            own: certificate and key of an authority to bring.
            ca_name: of an authority that is made.

        Raises:
            PkiError: what is there does not fit together, or is another's.
            OSError: a file can't be written or read.
        """
        self._make()
        made = self._bring(own) if own else self._init_authority(ca_name)
        if self.cert.exists() and self.key.exists():
            return made
        if self.cert.exists():
            raise PkiError(f"{self.key} is missing: put it back, or move {self.cert} away")
        return made + self._write_server(names, replace=False)

    def renew(self, names: Sequence[str]) -> list[Path]:
        """Give the collector a new certificate and key for these names; a running one takes them up.

        Raises:
            PkiError, OSError: there is no authority to sign it.
        """
        self._make()
        return self._write_server(names, replace=True)

    def _write_server(self, names: Sequence[str], *, replace: bool) -> list[Path]:
        authority = self.authority()
        if self.key.exists() and not replace:  # made by an init that was killed before it signed
            key = pki.read_key(self.key.read_bytes(), str(self.key))
        else:
            key = pki.new_key()
        certificate = authority.server(key, names)
        files = [(self.key, pki.key_pem(key)), (self.cert, pki.pem(certificate))]
        return [path for path, data in files if self._write(path, data, replace=replace)]

    def _init_authority(self, name: str) -> list[Path]:
        if self.ca_cert.exists():
            self.authority()
            return []
        made = []
        if not self.ca_key.exists():
            self._write(self.ca_key, pki.key_pem(pki.new_key()))
            made.append(self.ca_key)
        key = pki.read_key(self.ca_key.read_bytes(), str(self.ca_key))
        self._write(self.ca_cert, pki.pem(pki.new_authority(key, name).certificate))
        return [*made, self.ca_cert]

    def _bring(self, own: tuple[Path, Path]) -> list[Path]:
        cert, key = ((str(path), path.read_bytes()) for path in own)
        brought = pki.authority_of(cert, key)
        if self.ca_cert.exists():
            if self.authority().sha256 != brought.sha256:
                raise PkiError(f"{self.ca_cert} is another authority: name another folder with --dir")
            return []
        return [
            path for path, data in ((self.ca_key, key[1]), (self.ca_cert, cert[1])) if self._write(path, data)
        ]

    def _make(self) -> None:
        for path in reversed([self.path, *self.path.parents]):
            if not path.exists():
                path.mkdir(0o700)
                _give(path)

    def _write(self, path: Path, data: bytes, *, replace: bool = False) -> bool:
        """Write a file whole, or not at all; False where it is there and stays."""
        scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            _give(scratch)
            if replace:
                scratch.replace(path)
                return True
            try:
                path.hardlink_to(scratch)
            except FileExistsError:
                return False
        finally:
            with contextlib.suppress(FileNotFoundError):
                scratch.unlink()
        return True


def _give(path: Path) -> None:
    """Let root make what the collector's own user can read: it is of whom the folder above is."""
    if os.geteuid() == 0:
        above = path.parent.stat()
        os.chown(path, above.st_uid, above.st_gid)
