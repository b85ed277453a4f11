"""A handshake with a WireGuard server: one datagram out, one back. No device, no privilege.

The server takes a handshake as the client's newest: it forgets the session it had with this key. So this is
never run beside a tunnel of the same key.
"""

import os
import time

from sonde_agent.net.dial import Deadline
from sonde_agent.net.handshake.exchange import Exchange, failed, unreached
from sonde_agent.net.handshake.model import Handshake
from sonde_agent.net.handshake.wireguard_noise import Initiation, Keys, Meaning
from sonde_agent.net.peer import Peer
from sonde_proto.profiles import WireGuard
from sonde_proto.v1 import results_pb2 as pb

_RETRY_S = 5.0
"""Until the next initiation where none was answered: REKEY_TIMEOUT of every implementation."""

_SILENCE = (
    "no answer to the handshake: the server is down, its port is filtered, or it does not know this key"
    " (WireGuard answers no stranger)"
)
_WORDS = {
    Meaning.COOKIE: (pb.FAILURE_BUSY, "the server is up and under load: it answered with a cookie reply"),
    Meaning.OTHER_KEYS: (
        pb.FAILURE_AUTH,
        "the server answered with other keys than the profile's: is the preshared key still valid?",
    ),
    Meaning.GARBAGE: (pb.FAILURE_PROTOCOL, "the port answered with something that is not WireGuard"),
}


def shake(peer: Peer, settings: WireGuard, deadline: Deadline) -> Handshake:
    """Shake hands once. Blocks until `deadline` at most; never raises for what the peer does.

    Returns:
        Stage HANDSHAKE holds the time from the first initiation to the answer, retries included.
    """
    if settings.private_key is None:
        return failed(peer, pb.FAILURE_PROFILE, pb.STAGE_NONE, "the profile has no PrivateKey")
    keys = Keys(settings.private_key, settings.public_key, settings.preshared_key)
    try:
        with Exchange(peer, deadline) as exchange:
            while True:
                fresh = {"ephemeral": os.urandom(32), "index": os.urandom(4)}
                initiation = Initiation(keys, **fresh, unix_ns=time.time_ns())
                answer = exchange.ask(initiation.packet, _RETRY_S)
                if answer is None:
                    continue
                meaning = initiation.judge(answer.datagram)
                if meaning is not Meaning.AUTHENTIC:
                    failure, detail = _WORDS[meaning]
                    return failed(peer, failure, pb.STAGE_HANDSHAKE, detail)
                took_ms = (answer.at_ns - exchange.began_ns) / 1e6
                stages = {pb.STAGE_HANDSHAKE: took_ms}
                return Handshake(stages=stages, address=peer.address, family=peer.family)
    except TimeoutError:
        return failed(peer, pb.FAILURE_TIMEOUT, pb.STAGE_HANDSHAKE, _SILENCE)
    except OSError as error:
        return unreached(error, peer)
