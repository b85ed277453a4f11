"""A certificate for whatever name a client asks for, signed by the world's own authority."""

import os
import ssl

from sonde_lab.certificates import Authority


class Leaves:
    """Server contexts by name, each made when it is first asked for.

    Args:
        authority: signs them.
    """

    def __init__(self, authority: Authority) -> None:
        self._authority = authority
        self._made: dict[str, ssl.SSLContext] = {}

    def context(self, name: str) -> ssl.SSLContext:
        """Give what speaks TLS as `name`; HTTP/1.1 is all it offers."""
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> ssl.SSLContext:
        certificate, key = self._authority.issue([name])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_alpn_protocols(["http/1.1"])
        with os.fdopen(os.memfd_create("leaf", os.MFD_CLOEXEC), "w") as file:  # ssl takes files alone
            file.write(certificate + key)
            file.flush()
            context.load_cert_chain(f"/proc/self/fd/{file.fileno()}")
        return context
