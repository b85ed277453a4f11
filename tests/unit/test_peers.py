"""Who may speak for a vantage, at first and later."""

import datetime as dt

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from sonde_collector.identity import Peers, Refused, Revocation
from sonde_collector.pki import authority as pki


def _auth(vantage: str, days: float = 30) -> tuple[dict[str, list[bytes]], str]:
    authority = pki.new_authority(pki.new_key(), "test")
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    certificate = authority.agent(key, vantage, dt.timedelta(days=days))
    auth = {
        "transport_security_type": [b"ssl"],
        "x509_common_name": [vantage.encode()],
        "x509_pem_cert": [pki.pem(certificate)],
    }
    return auth, pki.serial_of(certificate)


def test_a_revoked_vantage_speaks_by_a_later_certificate_alone() -> None:
    """The old certificate and none at all are refused; one issued since is not, and others are not."""
    peers = Peers()
    old, _ = _auth("ams1")
    new, serial = _auth("ams1")
    stands = peers.identify(old, "ams1")
    looks: list[bool] = []
    peers.on_look.append(lambda: looks.append(peers.refusal(stands) is not None))
    peers.learn({})
    peers.learn({"ams1": Revocation("revoked: stolen", frozenset({serial}))})
    assert looks == [False, True], "who holds connections is told at each look"
    for auth in (old, {}):
        with pytest.raises(Refused, match="revoked: stolen") as refused:
            peers.identify(auth, "ams1")
        assert refused.value.status is grpc.StatusCode.PERMISSION_DENIED
    assert peers.identify(new, "ams1").serial == serial
    assert peers.identify(_auth("nyc1")[0], "nyc1").vantage == "nyc1"
    peers.learn({})
    assert peers.identify(old, "ams1").vantage == "ams1"


def test_a_connection_does_not_outlive_its_certificate() -> None:
    """What was accepted is refused from the second on in which the certificate ends."""
    now = dt.datetime.now(dt.UTC).timestamp()
    at = [now]
    peers = Peers(lambda: at[0])
    peer = peers.identify(_auth("ams1", days=1)[0], "ams1")
    at[0] = now + 86_400 - 60
    assert peers.refusal(peer) is None
    at[0] = now + 86_400 + 60
    refused = peers.refusal(peer)
    assert refused is not None
    assert refused.status is grpc.StatusCode.UNAUTHENTICATED
    assert "has ended" in str(refused)
