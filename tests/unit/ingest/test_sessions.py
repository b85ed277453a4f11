"""Sessions of a collector that stops: whoever leaves or comes too late finds nothing broken."""

import grpc
import pytest

from sonde_collector.config import Limits
from sonde_collector.db.pool import Database
from sonde_collector.ingest.connection import End
from sonde_collector.ingest.sessions import Sessions
from sonde_collector.limits.vantages import Vantages
from sonde_proto.v1 import ingest_pb2


async def test_after_the_end_nothing_is_said_and_nobody_is_taken() -> None:
    """The last of ten thousand connections may end after the threads."""
    sessions = Sessions(Database("postgresql://127.0.0.1:1/none"), Vantages(Limits()))
    await sessions.close()
    sessions.leave(b"e" * 16, 1)
    with pytest.raises(End) as end:
        await sessions.take(ingest_pb2.Batch(vantage="ams1"))
    assert end.value.status is grpc.StatusCode.UNAVAILABLE
