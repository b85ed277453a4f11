"""What the first message of a connection must be, and who may send it. **Pure.**"""

import grpc

from sonde_collector.identity import Auth, Peer, Peers, Refused
from sonde_collector.ingest.connection import End
from sonde_collector.versions import OURS, too_new
from sonde_proto.columns import MalformedBatch, parse
from sonde_proto.v1 import ingest_pb2

_ID_BYTES = 16


def read(raw: bytes) -> ingest_pb2.Batch:
    """Reads a message.

    Raises:
        End: INVALID_ARGUMENT, it is no Batch.
    """
    try:
        return parse(raw)
    except MalformedBatch as error:
        raise End(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error


def check_hello(hello: ingest_pb2.Batch) -> None:
    """Checks that a message is a hello, and a whole one.

    Raises:
        End: INVALID_ARGUMENT; the text says what is wrong with it.
    """
    if hello.last_seq:
        raise End(
            grpc.StatusCode.INVALID_ARGUMENT, "the first message must be a hello: a Batch with last_seq = 0"
        )
    for name in ("epoch", "instance"):
        if len(getattr(hello, name)) != _ID_BYTES:
            raise End(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"hello: {name} is {len(getattr(hello, name))} bytes, not {_ID_BYTES}",
            )
    if not hello.vantage or "\0" in hello.vantage:
        raise End(grpc.StatusCode.INVALID_ARGUMENT, "hello: vantage is not set, or holds a NUL")


def check_version(hello: ingest_pb2.Batch) -> None:
    """Checks that the agent is not newer than we: it might send results that we would take for malformed.

    Raises:
        End: UNIMPLEMENTED; the agent waits, and keeps all it has.
    """
    if too_new(hello.agent_version):
        raise End(
            grpc.StatusCode.UNIMPLEMENTED,
            f"this collector is {OURS} and the agent is {hello.agent_version[:40]}: collectors are upgraded "
            "first; its results wait in its spool",
        )


def identify(peers: Peers, auth: Auth, vantage: str) -> Peer:
    """Compares the peer's certificate with the vantage of its hello, and gives who it is.

    Args:
        peers: who judges.
        auth: the connection's `auth_context()`.
        vantage: as the hello names it.

    Raises:
        End: UNAUTHENTICATED without a certificate, PERMISSION_DENIED with another's or a revoked one.
    """
    try:
        return peers.identify(auth, vantage)
    except Refused as refused:
        raise End(refused.status, str(refused)) from None
