"""Damaged rows, damaged files, newer formats, second agents, kills."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.results import number, result

from sonde_agent.spool import Diverged, Spool, SpoolError, history
from sonde_agent.spool.model import link
from sonde_proto.v1 import ingest_pb2

DATABASE = b"d" * 16
OpenSpool = Callable[..., Spool]


def test_chain_links_every_result(open_spool: OpenSpool) -> None:
    """The chain of a chunk is SHA-256 over all results up to its end, whatever was acked before."""
    spool = open_spool()
    spool.append([result(n) for n in range(20)])
    stream = spool.streams()[-1]
    chain = b""
    for seq in range(1, 21):
        chain = link(chain, seq, result(seq - 1).SerializeToString())
        assert spool.peek(stream, seq - 1, 1, 1).chain == chain
    spool.ack(stream, 20, DATABASE, chain)
    assert spool.streams()[-1].chain == chain


@pytest.mark.parametrize("column", ["body", "chain", "crc"])
def test_damaged_row_becomes_a_gap(open_spool: OpenSpool, column: str) -> None:
    """One row that the disk changed is declared corrupt; its neighbours arrive."""
    spool = open_spool()
    spool.append([result(n) for n in range(10)])
    damaged = 7 if column == "crc" else b"\xff\xff\xff"
    spool._book.db.execute(f"UPDATE results SET {column} = ? WHERE seq = 5", (damaged,))
    chunk = spool.peek(spool.streams()[-1], 0, 1000, 1 << 20)
    assert [number(kept) for _, kept in chunk.results] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    (gap,) = chunk.gaps
    assert (gap.first_seq, gap.last_seq, gap.reason) == (5, 5, ingest_pb2.GAP_REASON_CORRUPT)


def test_vanished_rows_become_a_gap(open_spool: OpenSpool) -> None:
    """Rows that are simply not there are declared corrupt as well."""
    spool = open_spool()
    spool.append([result(n) for n in range(10)])
    spool._book.db.execute("DELETE FROM results WHERE seq BETWEEN 3 AND 5")
    (gap,) = spool.peek(spool.streams()[-1], 0, 1000, 1 << 20).gaps
    assert (gap.first_seq, gap.last_seq) == (3, 5)


@pytest.mark.parametrize("damage", ["header", "truncated", "text"])
def test_unreadable_file_is_set_aside(open_spool: OpenSpool, tmp_path: Path, damage: str) -> None:
    """An unreadable file is kept under another name, and measuring goes on in a new stream."""
    spool = open_spool()
    spool.append([result(n) for n in range(1000)])
    epoch = spool.streams()[-1].epoch
    spool.close()
    file = tmp_path / "state" / "spool.db"
    whole = file.read_bytes()
    file.write_bytes(
        {"header": b"\0" * 100 + whole[100:], "truncated": whole[:6000], "text": b"no database\n" * 900}[
            damage
        ]
    )
    spool = open_spool()
    spool.append([result(0)])
    assert spool.streams()[-1].epoch != epoch
    assert spool.stats().rows == 1
    assert len(list(file.parent.glob("spool.corrupt-*"))) == 1


def read_all(spool: Spool) -> None:
    """Read the current stream to its end."""
    stream, after = spool.streams()[-1], 0
    while chunk := spool.peek(stream, after, 1000, 1 << 20):
        after = chunk.last_seq


def test_damage_found_while_running(open_spool: OpenSpool, tmp_path: Path) -> None:
    """A page that turns out broken sets the file aside; the append that met it is kept in the new one."""
    spool = open_spool()
    spool.append([result(n) for n in range(5000)])
    spool.close()
    file = tmp_path / "state" / "spool.db"
    with file.open("r+b") as raw:
        raw.seek(file.stat().st_size // 2 // 4096 * 4096)
        raw.write(b"\xee" * 4096 * 20)
    spool = open_spool()
    with pytest.raises(SpoolError):
        read_all(spool)
    spool.append([result(0)])
    assert list(file.parent.glob("spool.corrupt-*"))
    assert spool.streams()[-1].highest_seq == 1


def test_newer_format_is_refused(open_spool: OpenSpool, tmp_path: Path) -> None:
    """A spool of a newer agent is left alone, with a message that says what to do."""
    open_spool().close()
    db = sqlite3.connect(tmp_path / "state" / "spool.db")
    db.execute("PRAGMA user_version = 2")
    db.close()
    with pytest.raises(SpoolError, match="upgrade sonde-agent"):
        open_spool()


def test_other_database_is_refused(open_spool: OpenSpool, tmp_path: Path) -> None:
    """Somebody else's SQLite file is neither used nor moved."""
    (tmp_path / "state").mkdir()
    db = sqlite3.connect(tmp_path / "state" / "spool.db")
    db.execute("CREATE TABLE mine (x)")
    db.commit()
    db.close()
    with pytest.raises(SpoolError, match="not a spool"):
        open_spool()


def test_second_agent_is_refused(open_spool: OpenSpool) -> None:
    """Two agents never share a state directory."""
    open_spool()
    with pytest.raises(SpoolError, match="another sonde-agent"):
        open_spool()


def test_unwritable_directory() -> None:
    """A state directory that can't be made is one clear message."""
    with pytest.raises(SpoolError, match="state_dir"):
        Spool.open(Path("/proc/nothing/spool.db"), max_bytes=1 << 20, max_age_s=1, history_s=1)


def test_too_small_bound_is_refused(tmp_path: Path) -> None:
    """A bound below the least is a message with the least in it."""
    with pytest.raises(SpoolError, match="256KiB"):
        Spool.open(tmp_path / "spool.db", max_bytes=1000, max_age_s=1, history_s=1)


def test_ack_with_another_chain_is_not_believed(open_spool: OpenSpool) -> None:
    """An ack whose chain is not the spool's marks nothing."""
    spool = open_spool()
    spool.append([result(n) for n in range(10)])
    with pytest.raises(Diverged):
        spool.ack(spool.streams()[-1], 5, DATABASE, b"x" * 32)
    assert spool.stats().rows == 10


def test_chunk_ends_where_the_assignment_changes(open_spool: OpenSpool) -> None:
    """Results measured under two assignments never share a batch."""
    spool = open_spool()
    spool.measured_under(DATABASE, 1)
    spool.append([result(n) for n in range(3)])
    spool.measured_under(DATABASE, 2)
    spool.append([result(n) for n in range(3, 5)])
    stream = spool.streams()[-1]
    first = spool.peek(stream, 0, 1000, 1 << 20)
    second = spool.peek(stream, first.last_seq, 1000, 1 << 20)
    assert (first.last_seq, first.database_id, first.revision) == (3, DATABASE, 1)
    assert (second.last_seq, second.revision) == (5, 2)


def test_history_reads_beside_a_running_agent(open_spool: OpenSpool, tmp_path: Path) -> None:
    """All that is kept can be exported while the agent holds the spool."""
    spool = open_spool()
    spool.append([result(n) for n in range(10)])
    stream = spool.streams()[-1]
    spool.ack(stream, 4, DATABASE)
    spool.quarantine(stream, 7, "unreadable")
    found = list(history.kept(tmp_path / "state" / "spool.db"))
    assert sorted(number(each.result) for each in found) == list(range(10))
    assert [each.seq for each in found if each.acked] == [1, 2, 3, 4]
    assert [(each.seq, each.quarantined) for each in found if each.quarantined] == [(7, "unreadable")]


APPENDER = """
import sys
from pathlib import Path
from sonde_agent.spool import Spool
from support.results import result
spool = Spool.open(Path(sys.argv[1]), max_bytes=32 << 20, max_age_s=1e9, history_s=1e9)
first = n = int(sys.argv[2])
while True:
    burst = 1 + n % 7
    spool.append([result(each) for each in range(n, n + burst)])
    n += burst
    print(n, flush=True)
    if n % 3 == 0:
        stream = spool.streams()[-1]
        spool.ack(stream, stream.highest_seq - 5, b"d" * 16) if stream.highest_seq > 5 else None
"""


def test_kill_during_appends(tmp_path: Path) -> None:
    """After SIGKILL at any moment every append that returned is there, in the same stream."""
    file = tmp_path / "spool.db"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    returned = 0
    for round_number in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", APPENDER, str(file), str(returned)],
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert child.stdout
        child.stdout.readline()
        time.sleep(0.02 * round_number)  # not to be safe: the moment of the kill is what varies
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        child.stdout.close()
        child.wait()
        kept = sorted(number(each.result) for each in history.kept(file))
        assert kept == list(range(len(kept)))
        last_returned = int(rest[-1]) if rest else 1
        assert len(kept) >= last_returned
        assert len(history.streams(file)) == 1
        returned = len(kept)
