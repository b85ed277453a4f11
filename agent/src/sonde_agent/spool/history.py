"""What the spool holds, read beside a running agent: for `spool`, `export` and a person's eyes."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from sonde_agent.spool import ledger
from sonde_agent.spool.bounds import Bounds
from sonde_agent.spool.database import APPLICATION_ID, FORMAT
from sonde_agent.spool.model import SpoolError, SpoolStats, StreamView
from sonde_proto.v1 import results_pb2


@dataclass(frozen=True, slots=True)
class Kept:
    """One result as the spool keeps it.

    Attributes:
        epoch: of its stream, 16 bytes.
        seq: within the stream.
        acked: committed at the collector.
        quarantined: why it was set aside; empty = it was not.
    """

    epoch: bytes
    seq: int
    acked: bool
    quarantined: str
    result: results_pb2.Result


def streams(path: Path) -> list[StreamView]:
    """All streams in the file, oldest first, with why the collector refuses one.

    Raises:
        SpoolError: there is no spool, or it can't be read.
    """
    with closing(_read(path)) as db:
        found = ledger.load(db)
        return [stream.view(current=stream is found[-1]) for stream in found]


@dataclass(frozen=True, slots=True)
class Summary:
    """The spool's figures, read from outside.

    Attributes:
        stats: how full it is; `lost` is known to the running agent alone.
        last_ack_us: when the collector last acked something, to the minute; None = never.
    """

    stats: SpoolStats
    last_ack_us: int | None


def summary(path: Path) -> Summary:
    """How full the spool is.

    Raises:
        SpoolError: there is no spool, or it can't be read.
    """
    with closing(_read(path)) as db:
        stats = Bounds(0, 0.0, 0.0, time.time).stats(db, ledger.load(db), 0)
        # Noted under the end of its minute: it is no older than the beginning.
        (last_ack_us,) = db.execute("SELECT max(at_us) - 60000000 FROM acks").fetchone()
    return Summary(stats, last_ack_us)


def kept(path: Path, *, since_us: int = 0) -> Iterator[Kept]:
    """All readable results in the file: history and waiting by stream and seq, then the quarantined.

    Args:
        path: the spool's file.
        since_us: leaves out what was measured earlier.

    Raises:
        SpoolError: there is no spool, or it can't be read.
    """
    with closing(_read(path)) as db:
        try:
            for epoch, seq, acked, reason, body in db.execute(
                "SELECT epoch, seq, seq <= acked_seq, '', body FROM results JOIN streams ON id = stream "
                "WHERE measured_us >= ?1 UNION ALL "
                "SELECT epoch, seq, 0, reason, body FROM quarantine JOIN streams ON id = stream "
                "WHERE measured_us >= ?1",
                (since_us,),
            ):
                try:
                    result = results_pb2.Result.FromString(body)
                except DecodeError:
                    continue
                yield Kept(epoch, seq, bool(acked), reason, result)
        except sqlite3.Error as error:
            raise SpoolError(f"{path}: {error}") from error


def _read(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise SpoolError(f"{path}: there is no spool; state_dir may be another one, or the agent never ran")
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (application,) = db.execute("PRAGMA application_id").fetchone()
    except sqlite3.Error as error:
        db.close()
        raise SpoolError(f"{path}: {error}; read it as the agent's user") from error
    if application != APPLICATION_ID or version != FORMAT:
        db.close()
        raise SpoolError(f"{path}: not a spool of format {FORMAT}; read it with the agent that wrote it")
    return db
