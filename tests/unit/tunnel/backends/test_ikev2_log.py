"""What charon says, on what strongSwan 5.9.8 really says."""

import errno
from collections.abc import Sequence

import pytest

from sonde_agent.tunnel.backends.ikev2_log import ConnectionLog
from sonde_proto.v1 import results_pb2 as pb

UP = (
    # [ms], line
    (0, "initiating IKE_SA sonde[1] to 192.0.2.1"),
    (2, "sending packet: from 10.255.255.1[1500] to 192.0.2.1[500] (892 bytes)"),
    (52, "received packet: from 192.0.2.1[500] to 10.255.255.1[1500] (240 bytes)"),
    (52, "parsed IKE_SA_INIT response 0 [ SA KE No N(NATD_S_IP) N(NATD_D_IP) N(FRAG_SUP) ]"),
    (54, "generating IKE_AUTH request 1 [ IDi N(INIT_CONTACT) CERTREQ IDr CPRQ(ADDR ADDR6) SA TSi TSr ]"),
    (54, "sending packet: from 10.255.255.1[14500] to 192.0.2.1[4500] (445 bytes)"),
    (104, "received packet: from 192.0.2.1[4500] to 10.255.255.1[14500] (1192 bytes)"),
    (303, "installing DNS server 10.7.0.254 to /run/room/resolvers"),
    (303, "installing new virtual IP 10.7.0.1"),
    (303, "installing new virtual IP fd07::1"),
    (304, "IKE_SA sonde[1] established between 10.255.255.1[probe]...192.0.2.1[vpn.example]"),
    (305, "CHILD_SA all{1} established with SPIs 1a1ddf04_i e4b3fe48_o and TS 10.7.0.1/32 === 0.0.0.0/0"),
)


class Heard:
    """A log that has heard some lines, and the stages that it told."""

    def __init__(self, lines: Sequence[tuple[int, str]]) -> None:
        self.stages: list[tuple[str, float]] = []
        self.log = ConnectionLog(self._stage)
        for ms, line in lines:
            self.log.hear(line, 100 + ms / 1e3)

    def _stage(self, stage: pb.Stage.ValueType, ms: float) -> None:
        self.stages.append((pb.Stage.Name(stage).removeprefix("STAGE_"), round(ms, 3)))

    def failed(self, answers: int = 1, code: int = 0) -> tuple[str, str]:
        """Failure and stage, as words, when nothing more comes."""
        failed = self.log.ended(answers, code)
        return pb.Failure.Name(failed.failure)[8:], pb.Stage.Name(failed.stage)[6:]


def test_comes_up() -> None:
    """Stages begin with the first packet, and what was assigned is known at the end."""
    heard = Heard(UP)
    assert heard.stages == [("TRANSPORT", 50), ("HANDSHAKE", 2), ("AUTH", 250), ("CONFIGURED", 1)]
    assert heard.log.addresses == ["10.7.0.1/32", "fd07::1/128"]
    assert heard.log.dns == ["10.7.0.254"]


@pytest.mark.parametrize(
    ("so_far", "line", "failure", "stage"),
    [
        # how many of UP's lines came before, what charon says then, what it means
        (4, "received NO_PROPOSAL_CHOSEN notify error", "PROTOCOL", "HANDSHAKE"),
        (7, "received AUTHENTICATION_FAILED notify error", "AUTH", "AUTH"),
        (7, "EAP-MS-CHAPv2 failed with error ERROR_AUTHENTICATION_FAILURE: '...'", "AUTH", "AUTH"),
        (7, "received EAP_FAILURE, EAP authentication failed", "AUTH", "AUTH"),
        (7, "no trusted ECDSA public key found for 'vpn.example'", "CERTIFICATE", "AUTH"),
        (11, "received TS_UNACCEPTABLE notify, no CHILD_SA built", "PROTOCOL", "CONFIGURED"),
        (11, "received INTERNAL_ADDRESS_FAILURE notify, no CHILD_SA built", "NO_ADDRESS", "CONFIGURED"),
        (4, "parsed IKE_SA_INIT response 0 [ N(COOKIE) ]", "BUSY", "HANDSHAKE"),
        (4, "nothing of interest", "TIMEOUT", "HANDSHAKE"),
        (7, "nothing of interest", "TIMEOUT", "AUTH"),
    ],
)
def test_failures(so_far: int, line: str, failure: str, stage: str) -> None:
    """Each way to fail has its failure and its stage."""
    assert Heard([*UP[:so_far], (400, line)]).failed() == (failure, stage)


@pytest.mark.parametrize(
    ("answers", "code", "failure"),
    [
        (0, 0, "TIMEOUT"),
        (3, 0, "PROTOCOL"),
        (0, errno.ECONNREFUSED, "REFUSED"),
        (0, errno.EHOSTUNREACH, "UNREACHABLE"),
    ],
)
def test_nothing_that_charon_understood(answers: int, code: int, failure: str) -> None:
    """Before charon took an answer, what the relay saw tells silence, rubbish and refusals apart."""
    assert Heard(UP[:2]).failed(answers, code) == (failure, "TRANSPORT")


def test_why_not_trusted() -> None:
    """The reason why a certificate is not believed stands in the words."""
    heard = Heard(
        [
            *UP[:7],
            (105, "subject certificate invalid (valid from Jan 01 00:00:00 2025 to Feb 01 00:00:00 2025)"),
            (106, "no trusted RSA public key found for 'vpn.example'"),
        ]
    )
    assert heard.log.failed is not None
    assert "to Feb 01 00:00:00 2025" in heard.log.failed.detail
