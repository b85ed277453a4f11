"""One batch as it was taken in: decoded, its range checked, on its way to a writer."""

from collections.abc import Sequence

from attrs import frozen

from sonde_collector.ingest.unpacked import texts
from sonde_collector.ingest.validate import check_batch, check_size
from sonde_proto import columns
from sonde_proto.v1 import ingest_pb2


@frozen(kw_only=True, eq=False)
class GapRange:
    """Seqs that have no results and never will; times in microseconds where known."""

    first_seq: int
    last_seq: int
    reason: str
    from_us: int | None
    until_us: int | None


@frozen(kw_only=True, eq=False)
class Arrival:
    """A batch of one stream, held in memory until it is committed.

    Attributes:
        vantage: whose the stream is.
        epoch: the stream.
        session: the fence number of the connection that brought it.
        received_at_us: this collector's clock when it came.
        strings: its dictionary; [0] is "" and stands for NULL.
        rows: results in it.
        size: of its message. [bytes]
        unpacked: about what its results take one by one, each with its texts. [bytes]
    """

    vantage: str
    epoch: bytes
    session: int
    first_seq: int
    last_seq: int
    chain: bytes
    received_at_us: int
    sent_at_us: int
    clock_offset_us: int | None
    agent_version: str
    config_revision: int
    database_id: bytes
    strings: Sequence[str]
    gaps: Sequence[GapRange]
    tables: Sequence[columns.Table]
    rows: int
    size: int
    unpacked: int


def take_in(
    batch: ingest_pb2.Batch, *, vantage: str, session: int, received_at_us: int, size: int
) -> Arrival:
    """Decodes a batch.

    Args:
        batch: as it came.
        vantage: whose stream it is.
        session: the fence number of its connection.
        received_at_us: when it came.
        size: of its message. [bytes]

    Raises:
        MalformedBatch: it contradicts itself; the text names what.
    """
    tables = columns.decode(batch)
    words = list(batch.strings) or [""]
    unpacked = size + texts(tables, words)
    check_size(batch, tables, unpacked)
    check_batch(batch, tables)
    return Arrival(
        vantage=vantage,
        epoch=batch.epoch,
        session=session,
        first_seq=batch.first_seq,
        last_seq=batch.last_seq,
        chain=batch.chain,
        received_at_us=received_at_us,
        sent_at_us=batch.sent_at_us,
        clock_offset_us=batch.clock_offset_us if batch.HasField("clock_offset_us") else None,
        agent_version=batch.agent_version,
        config_revision=batch.config_revision,
        database_id=batch.database_id,
        strings=words,
        gaps=[
            GapRange(
                first_seq=gap.first_seq,
                last_seq=gap.last_seq,
                reason=ingest_pb2.GapReason.Name(gap.reason).removeprefix("GAP_REASON_").lower(),
                from_us=gap.from_us if gap.HasField("from_us") else None,
                until_us=gap.until_us if gap.HasField("until_us") else None,
            )
            for gap in batch.gaps
        ],
        tables=tables,
        rows=sum(map(len, tables)),
        size=size,
        unpacked=unpacked,
    )
