"""One agent's connection: what was read, what is committed, and how it ends."""

import asyncio
import time

import grpc

from sonde_collector.identity import Peer
from sonde_collector.ingest.arrival import Arrival
from sonde_collector.ingest.session import Session
from sonde_collector.ingest.transaction import Settled
from sonde_proto.v1 import ingest_pb2


class End(Exception):  # an end is not always an error
    """The connection ends with this status; the text is for the agent's operator."""

    def __init__(self, status: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class Connection:
    """The state of one connection after its hello. For the event loop alone.

    Args:
        session: its right to write.
        hello: what began it.
        received_at_us: when that came.
        peer: who sent it.
    """

    def __init__(self, session: Session, hello: ingest_pb2.Batch, received_at_us: int, peer: Peer) -> None:
        self.session = session
        self.peer = peer
        self.vantage = hello.vantage
        self.next_seq = session.acked_seq + 1
        self.in_flight = 0
        """Batches read and not settled."""
        self.alive_at = time.monotonic()
        self.end: End | None = None
        self.changed = asyncio.Event()
        """Set whenever something here changed; whoever waits clears it first."""
        self._acked_seq, self._chain = session.acked_seq, session.chain
        self._newest = (hello.sent_at_us, received_at_us)
        self.owes_ack = True
        """Whether something was settled that the agent was not told of; at first, the cursor."""

    def take_in(self, arrival: Arrival) -> None:
        """Notes a batch that goes to the writer.

        Raises:
            End: it does not follow what came before.
        """
        if arrival.first_seq > self.next_seq:
            raise End(
                grpc.StatusCode.OUT_OF_RANGE,
                f"first_seq {arrival.first_seq} does not follow {self.next_seq - 1}: begin with a hello",
            )
        self.next_seq = max(self.next_seq, arrival.last_seq + 1)
        self.in_flight += 1
        self._newest = (arrival.sent_at_us, arrival.received_at_us)

    def settle(self, settled: Settled) -> None:
        """Notes how a batch ended; batches settle in order."""
        self.in_flight -= 1
        if settled.refusal is not None:
            status = _STATUS[settled.refusal.why.name]
            self.finish(End(status, settled.refusal.detail))
        else:
            self.alive_at = time.monotonic()
            self._acked_seq, self._chain = settled.acked_seq, settled.chain
            self.owes_ack = True
        self.changed.set()

    def finish(self, end: End) -> None:
        """Ends the connection, unless something ended it before."""
        self.end = self.end or end
        self.changed.set()

    def ack(self, now_us: int) -> ingest_pb2.Ack:
        """The ack for all that is committed: one for however many batches."""
        self.owes_ack = False
        return ingest_pb2.Ack(
            acked_seq=self._acked_seq,
            chain=self._chain,
            database_id=self.session.database_id.bytes,
            batch_sent_at_us=self._newest[0],
            received_at_us=self._newest[1],
            sent_at_us=now_us,
        )


_STATUS = {
    "FENCED": grpc.StatusCode.ABORTED,
    "OUT_OF_RANGE": grpc.StatusCode.OUT_OF_RANGE,
    "DIVERGED": grpc.StatusCode.FAILED_PRECONDITION,
}
