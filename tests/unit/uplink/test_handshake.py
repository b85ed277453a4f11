"""What the agent advises when a connection fails before anything was said."""

import pytest

from sonde_agent.uplink.handshake import advice

FAILED = "UNAVAILABLE: failed to connect to all addresses; last error: UNAVAILABLE: ipv4:192.0.2.1:7443: "


@pytest.mark.parametrize(
    ("error", "tls", "named"),
    [
        (FAILED + "Socket closed", True, "tls.cert"),
        (FAILED + "Socket closed", False, "add [tls]"),
        (FAILED + "recvmsg:Connection reset by peer", True, "tls.cert"),
        (FAILED + "Tls handshake failed: CERTIFICATE_VERIFY_FAILED: unable to get issuer", True, "tls.ca"),
        (FAILED + "Hostname Verification Check failed: not in peer certificate", True, "names the host"),
        (FAILED + "Tls handshake failed: WRONG_VERSION_NUMBER", True, "plain text"),
    ],
)
def test_a_failed_handshake_names_what_to_look_at(error: str, tls: bool, named: str) -> None:  # noqa: FBT001
    """Each way a handshake fails points at the setting that decides it."""
    assert named in advice(error, tls=tls)


@pytest.mark.parametrize(
    "error",
    [FAILED + "connect: Connection refused (111)", "UNAVAILABLE: Socket closed", "NOT_FOUND: vantage"],
)
def test_what_was_no_handshake_gets_no_advice(error: str) -> None:
    """A refused port says it all, and a connection that once stood has no setting to blame."""
    assert advice(error, tls=True) == ""
