"""Who a connection is: on TLS, the client certificate's common name must be the vantage it speaks for.

gRPC has proven, when a connection begins, that our authority signed the certificate and that it has not
ended. Whether it was revoked, and whether it ended since, is asked here for as long as it stands.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterable, Mapping

import grpc
from attrs import frozen
from cryptography import x509

Auth = Mapping[str, Iterable[bytes]]
"""A connection's `auth_context()`."""


class Refused(Exception):
    """The peer may not speak for the vantage that it names; the text is for both sides.

    Attributes:
        status: what the call ends with.
    """

    def __init__(self, status: grpc.StatusCode, why: str) -> None:
        super().__init__(why)
        self.status = status


@frozen
class Revocation:
    """Nobody speaks for a vantage but by a certificate that it got since.

    Attributes:
        why: in words, with what to do.
        since: serials of those certificates.
    """

    why: str
    since: frozenset[str]


@frozen
class Peer:
    """Who connected.

    Attributes:
        vantage: whom it speaks for.
        serial: of its certificate; "" without TLS, which only this host has.
        not_after: when its certificate ends [s, UTC]; None without TLS.
    """

    vantage: str
    serial: str = ""
    not_after: float | None = None


class Peers:
    """Judges peers by what is revoked; knows of nothing until `learn` is called.

    Args:
        now_s: UTC, seconds.

    Attributes:
        on_look: called after each look at the revocations: those who hold connections end what is refused.
    """

    def __init__(self, now_s: Callable[[], float] = time.time) -> None:
        self._now_s = now_s
        self._revoked: Mapping[str, Revocation] = {}
        self.on_look: list[Callable[[], None]] = []

    def learn(self, revoked: Mapping[str, Revocation]) -> None:
        """Judge by these from now on, also those who are connected."""
        self._revoked = revoked
        for look in self.on_look:
            look()

    def identify(self, auth: Auth, vantage: str) -> Peer:
        """Give who connected, if it may speak for `vantage`.

        Raises:
            Refused: it may not.
        """
        peer = _peer(auth, vantage)
        if refused := self.refusal(peer):
            raise refused
        return peer

    def refusal(self, peer: Peer) -> Refused | None:
        """Give why a peer may not speak any more; None if it may."""
        revoked = self._revoked.get(peer.vantage)
        if revoked is not None and peer.serial not in revoked.since:
            return Refused(grpc.StatusCode.PERMISSION_DENIED, revoked.why)
        if peer.not_after is not None and self._now_s() >= peer.not_after:
            ended = dt.datetime.fromtimestamp(peer.not_after, dt.UTC)
            why = f"the certificate has ended at {ended:%Y-%m-%d %H:%M:%S} UTC: connect with its successor"
            return Refused(grpc.StatusCode.UNAUTHENTICATED, why)
        return None


def common_name(auth: Auth) -> str | None:
    """Give the name in a peer's certificate, "" where it has none; None without TLS."""
    return None if _plain(auth) else ",".join(_names(auth))


def _plain(auth: Auth) -> bool:
    return b"ssl" not in auth.get("transport_security_type", ())


def _names(auth: Auth) -> list[str]:
    return [name.decode(errors="replace") for name in auth.get("x509_common_name", ())]


def _peer(auth: Auth, vantage: str) -> Peer:
    if _plain(auth):
        return Peer(vantage)  # it came from this host (see config)
    names = _names(auth)
    if names != [vantage]:
        shown = f'"{names[0]}"' if names else "nobody"
        raise Refused(
            grpc.StatusCode.PERMISSION_DENIED if names else grpc.StatusCode.UNAUTHENTICATED,
            f'the certificate is for {shown}, not for vantage "{vantage}": use that vantage\'s certificate',
        )
    for pem in auth.get("x509_pem_cert", ()):
        certificate = x509.load_pem_x509_certificate(pem)
        return Peer(vantage, f"{certificate.serial_number:x}", certificate.not_valid_after_utc.timestamp())
    return Peer(vantage)
