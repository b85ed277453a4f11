"""Who may send a hello."""

import grpc
import pytest

from sonde_collector.identity import Peers
from sonde_collector.ingest.connection import End
from sonde_collector.ingest.hello import identify

TLS = {"transport_security_type": [b"ssl"]}


@pytest.mark.parametrize("auth", [{}, TLS | {"x509_common_name": [b"ams1"]}])
def test_its_own_certificate_or_this_host_may_speak(auth: dict[str, list[bytes]]) -> None:
    """Without TLS a peer is of this host; with it, the certificate is the vantage's."""
    assert identify(Peers(), auth, "ams1").vantage == "ams1"


@pytest.mark.parametrize(
    ("auth", "status"),
    [
        (TLS, grpc.StatusCode.UNAUTHENTICATED),
        (TLS | {"x509_common_name": [b"fra1"]}, grpc.StatusCode.PERMISSION_DENIED),
    ],
)
def test_no_certificate_and_a_wrong_one_are_told_apart(
    auth: dict[str, list[bytes]], status: grpc.StatusCode
) -> None:
    """Who shows none must enrol; who shows another's may not speak for this vantage."""
    with pytest.raises(End) as ended:
        identify(Peers(), auth, "ams1")
    assert ended.value.status is status
