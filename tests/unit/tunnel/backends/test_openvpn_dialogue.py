"""The talk with an OpenVPN process, on what OpenVPN 2.6.14 really says."""

from collections.abc import Sequence

import pytest

from sonde_agent.tunnel.backends.base import Secrets
from sonde_agent.tunnel.backends.openvpn_dialogue import Dialogue
from sonde_proto.v1 import results_pb2 as pb

UP = (
    "100.000000 1 UDPv4 link remote: [AF_INET]192.0.2.1:1194",
    "100.050000 14000003 TLS: Initial packet from [AF_INET]192.0.2.1:1194, sid=67fb2750 86ec0634",
    "100.051000 14000002 VERIFY OK: depth=0, CN=vpn.example",
    "100.150000 14000002 Control Channel: TLSv1.3, cipher TLSv1.3 TLS_AES_256_GCM_SHA384",
    "100.200000 22000003 PUSH: Received control message: 'PUSH_REPLY,ifconfig 10.8.1.7 255.255.255.0'",
    "100.201000 1 Initialization Sequence Completed",
)


class Heard:
    """A dialogue that has heard some lines, and the stages that it told."""

    def __init__(self, lines: Sequence[str], secrets: Secrets | None = None) -> None:
        self.stages: list[tuple[str, float]] = []
        self.dialogue = Dialogue(secrets or Secrets(), self._stage)
        for line in lines:
            self.dialogue.heard(line)

    def _stage(self, stage: pb.Stage.ValueType, ms: float) -> None:
        self.stages.append((pb.Stage.Name(stage).removeprefix("STAGE_"), round(ms, 3)))

    @property
    def failed(self) -> tuple[str, str]:
        """Failure and stage, as words."""
        failed = self.dialogue.failed
        assert failed is not None
        return pb.Failure.Name(failed.failure)[8:], pb.Stage.Name(failed.stage)[6:]


def test_comes_up() -> None:
    """Stages are the differences of OpenVPN's own stamps, from its first packet on."""
    heard = Heard(UP)
    assert heard.dialogue.connected
    assert heard.stages == [
        ("TRANSPORT", 50.0),
        ("HANDSHAKE", 100.0),
        ("AUTH", 50.0),
        ("CONFIGURED", 1.0),
    ]


def test_tcp() -> None:
    """Over TCP the stage TRANSPORT is the connect, and the first packet belongs to the handshake."""
    heard = Heard(
        (
            "100.0 1 Attempting to establish TCP connection with [AF_INET]192.0.2.1:443",
            "100.050000 1 TCP connection established with [AF_INET]192.0.2.1:443",
            "100.050100 1 TCPv4_CLIENT link remote: [AF_INET]192.0.2.1:443",
            "100.101 14000003 TLS: Initial packet from [AF_INET]192.0.2.1:443, sid=1 2",
            "100.200000 14000002 Control Channel: TLSv1.3, cipher",
        )
    )
    assert heard.stages == [("TRANSPORT", 50.0), ("HANDSHAKE", 150.0)]


@pytest.mark.parametrize(
    ("so_far", "line", "failure", "stage"),
    [
        # how many of UP's lines came before, what OpenVPN says then, what it means
        (1, "read UDPv4 [ECONNREFUSED]: Connection refused (fd=3,code=111)", "REFUSED", "TRANSPORT"),
        (2, "read UDPv4 [ECONNREFUSED]: Connection refused (fd=3,code=111)", "RESET", "HANDSHAKE"),
        (1, "read UDPv4 [EHOSTUNREACH]: No route to host (fd=3,code=113)", "UNREACHABLE", "TRANSPORT"),
        (0, "TCP: connect to [AF_INET]192.0.2.1:1 failed: Connection refused", "REFUSED", "TRANSPORT"),
        (
            2,
            "VERIFY ERROR: depth=0, error=certificate has expired: CN=vpn.example, serial=7",
            "CERTIFICATE",
            "HANDSHAKE",
        ),
        (2, "VERIFY X509NAME ERROR: CN=a.example, must be b.example", "CERTIFICATE", "HANDSHAKE"),
        (2, "VERIFY EKU ERROR", "CERTIFICATE", "HANDSHAKE"),
        (
            2,
            "OpenSSL: error:0A000410:SSL routines::sslv3 alert handshake failure:SSL alert number 40",
            "TLS",
            "HANDSHAKE",
        ),
        (4, "AUTH: Received control message: AUTH_FAILED", "AUTH", "AUTH"),
        (4, "AUTH: Received control message: AUTH_FAILED,CRV1:R,E:abc:def:otp", "AUTH", "AUTH"),
        (4, "AUTH: Received control message: AUTH_FAILED,TEMP[backoff 9]:later", "BUSY", "AUTH"),
        (
            4,
            "AUTH: Received control message: AUTH_FAILED,Data channel cipher negotiation failed",
            "PROTOCOL",
            "CONFIGURED",
        ),
        (5, "OPTIONS ERROR: failed to negotiate cipher with server.", "PROTOCOL", "CONFIGURED"),
        (2, "Connection reset, restarting [0]\n", "TIMEOUT", "HANDSHAKE"),  # the signal's line tells it
        (2, "SIGUSR1[soft,connection-reset] received, process restarting", "RESET", "HANDSHAKE"),
        (6, "SIGUSR1[soft,ping-restart] received, process restarting", "RESET", "TRANSFER"),
    ],
)
def test_failures(so_far: int, line: str, failure: str, stage: str) -> None:
    """Each way to fail has its failure and its stage."""
    heard = Heard([*UP[:so_far], f"101.0 40 {line}"])
    heard.dialogue.silence()
    assert heard.failed == (failure, stage)


def test_noise_explains_silence() -> None:
    """A packet that made no sense fails nothing by itself, but is the reason when nothing better comes."""
    noise = "100.010000 21 TLS Error: unknown opcode received from [AF_INET]192.0.2.1:1194 op=9"
    assert Heard([UP[0], noise, *UP[1:]]).dialogue.connected
    alone = Heard([UP[0], noise])
    alone.dialogue.silence()
    assert alone.failed == ("PROTOCOL", "TRANSPORT")


def test_bytes_that_mean_nothing() -> None:
    """Bytes came and OpenVPN made nothing of them: an answer, but none of OpenVPN's."""
    heard = Heard(UP[:1])
    heard.dialogue.asked(">BYTECOUNT:92,54")
    heard.dialogue.silence()
    assert heard.failed == ("PROTOCOL", "TRANSPORT")


def test_first_reason_counts() -> None:
    """What follows from a failure does not replace it."""
    heard = Heard(
        [
            *UP[:2],
            "100.1 14000021 VERIFY ERROR: depth=0, error=certificate has expired: CN=x",
            "100.1 40 OpenSSL: error:0A000086:SSL routines::certificate verify failed:",
            "100.1 40 TLS Error: TLS handshake failed",
            "100.1 1 SIGUSR1[soft,tls-error] received, process restarting",
        ]
    )
    assert heard.failed == ("CERTIFICATE", "HANDSHAKE")


def test_no_address() -> None:
    """Up without an address is a failure."""
    lines = [*UP[:4], "100.2 1 PUSH: Received control message: 'PUSH_REPLY,ping 5'", UP[5]]
    assert Heard(lines).failed == ("NO_ADDRESS", "CONFIGURED")


def test_secrets() -> None:
    """User name and password are quoted as the management socket reads them, and asked for by name only."""
    dialogue = Heard((), Secrets('u"ser', "pa\\ss word")).dialogue
    assert dialogue.asked(">HOLD:Waiting for hold release:0") == ["bytecount 1", "hold release"]
    assert dialogue.asked(">HOLD:Waiting for hold release:0") == []
    assert dialogue.asked(">PASSWORD:Need 'Auth' username/password") == [
        'username "Auth" "u\\"ser"',
        'password "Auth" "pa\\\\ss word"',
    ]


def test_secret_with_a_line_end() -> None:
    """A password that would end the line is never sent: it could be an order to OpenVPN."""
    heard = Heard((), Secrets("user", "x\nsignal SIGTERM"))
    assert heard.dialogue.asked(">PASSWORD:Need 'Auth' username/password") == []
    assert heard.failed == ("PROFILE", "AUTH")


def test_other_secret() -> None:
    """A key with a passphrase is our own fault, told in words."""
    heard = Heard(())
    assert heard.dialogue.asked(">PASSWORD:Need 'Private Key' password") == []
    assert heard.failed == ("PROFILE", "AUTH")
