"""IKE_SA_INIT with a server: one datagram out, one back. No charon, no privilege, no account.

It proves a live IKEv2 responder, not that it accepts us. The server keeps the half-open exchange for some
30 s, and may fall silent for an address that has several (strongSwan: six).
"""

from sonde_agent.net.dial import Deadline
from sonde_agent.net.handshake.exchange import Exchange, failed, unreached
from sonde_agent.net.handshake.ike_message import GROUPS, Answer, Meaning, Request, first_group
from sonde_agent.net.handshake.model import Handshake
from sonde_agent.net.peer import Peer
from sonde_proto.profiles import Ike
from sonde_proto.v1 import results_pb2 as pb

_RETRY_S = 2.0
_NAT_PORT = 4500
_NON_ESP = bytes(4)  # RFC 3948: before IKE on the port that it shares with ESP
_MOST_TURNS = 4  # a cookie, another group, and once more each


def shake(peer: Peer, settings: Ike, deadline: Deadline) -> Handshake:
    """Shake hands as far as IKE_SA_INIT. Blocks; never raises for what the peer does.

    Returns:
        Stage TRANSPORT holds the time from the first request to the first answer: one round trip. HANDSHAKE
        holds the rest: nothing, or another round trip where the server asks for a cookie or another group.
    """
    marker = _NON_ESP if peer.port == _NAT_PORT else b""
    request = Request(first_group(settings.ike_proposal))
    said = Answer(Meaning.GARBAGE)
    first_ns = 0
    try:
        with Exchange(peer, deadline) as exchange:
            for _ in range(_MOST_TURNS):
                got = None
                while got is None:
                    got = exchange.ask(marker + request.packet(), _RETRY_S)
                first_ns = first_ns or got.at_ns
                said = request.judge(got.datagram.removeprefix(marker))
                if said.meaning is Meaning.DONE:
                    stages = {
                        pb.STAGE_TRANSPORT: (first_ns - exchange.began_ns) / 1e6,
                        pb.STAGE_HANDSHAKE: (got.at_ns - first_ns) / 1e6,
                    }
                    return Handshake(stages=stages, address=peer.address, family=peer.family)
                if said.meaning is Meaning.COOKIE:
                    request.take_cookie(said.data)
                elif said.meaning is Meaning.OTHER_GROUP and said.number in GROUPS:
                    request.take_group(said.number)
                else:
                    break
    except TimeoutError:
        detail = "no answer to IKE_SA_INIT: the server is down, or its port is filtered"
        stage = pb.STAGE_HANDSHAKE if first_ns else pb.STAGE_TRANSPORT
        return failed(peer, pb.FAILURE_TIMEOUT, stage, detail)
    except OSError as error:
        return unreached(error, peer)
    return failed(peer, *_why(said))


def _why(said: Answer) -> tuple[pb.Failure.ValueType, pb.Stage.ValueType, str]:
    stage = pb.STAGE_HANDSHAKE
    match said.meaning:
        case Meaning.COOKIE:
            return (
                pb.FAILURE_BUSY,
                stage,
                "the server is up and under load: it asks for a cookie again and again",
            )
        case Meaning.OTHER_GROUP:
            return pb.FAILURE_PROTOCOL, stage, f"the server wants Diffie-Hellman group {said.number}"
        case Meaning.NO_PROPOSAL:
            return pb.FAILURE_PROTOCOL, stage, "the server accepts none of the algorithms offered"
        case Meaning.ERROR:
            return pb.FAILURE_PROTOCOL, stage, f"the server answered with IKE error {said.number}"
        case _:
            return pb.FAILURE_PROTOCOL, stage, "the port answered with something that is not IKEv2"
