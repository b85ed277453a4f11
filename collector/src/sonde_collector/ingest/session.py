"""Who may write a stream: the hello, the fence, and the sign of life of each connection."""

from collections.abc import Sequence
from enum import Enum
from uuid import UUID

import psycopg
from attrs import frozen

from sonde_collector.db.queries import query
from sonde_collector.ingest.transaction import LIVE_S
from sonde_proto.v1 import ingest_pb2


class Why(Enum):
    """Why a hello is not accepted."""

    UNKNOWN_VANTAGE = "unknown vantage"
    COPY = "copy"
    TOO_MANY = "too many new streams"


class HelloRefused(Exception):
    """The stream may not be written by this agent; the text says what to do."""

    def __init__(self, why: Why, detail: str, vantage: str = "") -> None:
        super().__init__(detail)
        self.why = why
        self.vantage = vantage


@frozen
class Session:
    """A connection's right to write a stream, until a newer one takes it.

    Attributes:
        number: the fence.
        acked_seq: the cursor. chain: the chain at it.
        database_id: the database that says so.
    """

    epoch: bytes
    number: int
    acked_seq: int
    chain: bytes
    database_id: UUID


def take(conn: psycopg.Connection, hello: ingest_pb2.Batch, *, new_streams: int) -> Session:
    """Takes the stream of a hello over from whoever had it, in one transaction.

    Args:
        conn: outside any transaction.
        hello: whose, and which.
        new_streams: so many streams may a vantage begin in a day.

    Raises:
        HelloRefused: the vantage is unknown, the stream is another vantage's or one new stream too many, or
            the spool is a copy.
        psycopg.Error: nothing was taken.
    """
    with conn.transaction():
        vantage = conn.execute(query("ingest_vantage"), {"vantage": hello.vantage}).fetchone()
        if vantage is None:
            raise HelloRefused(
                Why.UNKNOWN_VANTAGE,
                f"vantage {hello.vantage!r} is not in the inventory: add it to fleet.toml and run "
                "`sonde-collector apply`",
            )
        stream = conn.execute(query("ingest_stream"), {"epoch": hello.epoch}, binary=True).fetchone()
        if stream is None:
            conn.execute(query("ingest_streams_lock"), {"probe": vantage[0]})
            begun = conn.execute(query("ingest_streams_begun"), {"probe": vantage[0]}).fetchone()
            if begun is not None and begun[0] >= new_streams:
                raise HelloRefused(
                    Why.TOO_MANY,
                    f"{hello.vantage} began {begun[0]} streams within a day, as many as [limits] new_streams "
                    "allows: give its agent a state_dir that lasts, or wait; streams that exist go on",
                    hello.vantage,
                )
            conn.execute(query("ingest_new_stream"), {"probe": vantage[0], "epoch": hello.epoch})
            stream = conn.execute(query("ingest_stream"), {"epoch": hello.epoch}, binary=True).fetchone()
            assert stream is not None
        number, code, acked_seq, chain, instance, live = stream
        if code != hello.vantage:
            raise HelloRefused(
                Why.COPY,
                f"this spool belongs to vantage {code!r}, not to {hello.vantage!r}: give the agent a "
                "state_dir of its own, or the vantage its old code",
            )
        _refuse_copies(hello, acked_seq, chain, other_lives=live and instance != hello.instance)
        taken = conn.execute(
            query("ingest_take_session"), {"stream": number, "instance": hello.instance, "seconds": LIVE_S}
        ).fetchone()
        assert taken is not None
    return Session(hello.epoch, taken[0], acked_seq, chain, taken[1])


def _refuse_copies(hello: ingest_pb2.Batch, acked_seq: int, chain: bytes, *, other_lives: bool) -> None:
    if hello.copied and other_lives:
        raise HelloRefused(
            Why.COPY,
            "cloned spool: the agent that this spool was copied from is connected; "
            "`sonde-agent spool --new-stream` lets this one go on as a stream of its own",
        )
    if hello.first_seq == acked_seq > 0 and hello.chain != chain:
        raise HelloRefused(
            Why.COPY,
            f"this spool's history up to {acked_seq} is not what was committed: it is a copy that went its "
            "own way; `sonde-agent spool --new-stream` lets it go on as a stream of its own",
        )


def renew(conn: psycopg.Connection, sessions: Sequence[tuple[bytes, int]]) -> set[tuple[bytes, int]]:
    """Says that these (epoch, number) are alive and gives those that still hold their stream."""
    parameters = {
        "epochs": [epoch for epoch, _ in sessions],
        "sessions": [number for _, number in sessions],
        "seconds": LIVE_S,
    }
    return set(conn.execute(query("ingest_renew"), parameters, binary=True).fetchall())


def leave(conn: psycopg.Connection, epoch: bytes, number: int) -> None:
    """Says that a connection ended in order."""
    conn.execute(query("ingest_leave"), {"epoch": epoch, "session": number})
