"""Whom TLS believes for unlock checks: the system's certificate authorities, and those of a file."""

import os
import ssl
from pathlib import Path

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian and its children
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora and its children
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine
)


class Trust:
    """Certificate authorities, as OpenSSL takes them and as libcurl does.

    Args:
        extra: PEM file of those besides the system's; None = there are none.

    Raises:
        OSError: `extra` can't be read.
        ValueError: it holds no certificate, or there are none at all.
    """

    def __init__(self, extra: Path | None = None) -> None:
        self._extra = extra.read_text(encoding="ascii", errors="replace") if extra else ""
        self._memory: int | None = None
        self._file = _bundle()
        if not (self._file or extra):
            raise ValueError("this host has no certificate authorities: apt install ca-certificates")
        if extra:
            try:
                ssl.create_default_context(cadata=self._extra)
            except ssl.SSLError:
                raise ValueError(f"{extra} holds no PEM certificate") from None
            self._memory = os.memfd_create("authorities")
            with os.fdopen(os.dup(self._memory), "wb") as file:
                file.write(Path(self._file).read_bytes() if self._file else b"")
                file.write(b"\n" + self._extra.encode("ascii", "replace"))
            self._file = f"/proc/self/fd/{self._memory}"

    def context(self) -> ssl.SSLContext:
        """Give the settings of a client."""
        context = ssl.create_default_context()
        if self._extra:
            context.load_verify_locations(cadata=self._extra)
        return context

    def file(self) -> str:
        """Give the path of a file with all of them, for libcurl, which takes one file; good until `close`."""
        return self._file

    def close(self) -> None:
        """Forget the file."""
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None


def _bundle() -> str:
    own = ssl.get_default_verify_paths().cafile
    return own or next((path for path in _BUNDLES if os.access(path, os.R_OK)), "")
