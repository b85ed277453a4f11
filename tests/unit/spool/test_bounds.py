"""What happens when the spool, or the disk under it, is full, or results grow old."""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.results import START_US, number, result

from sonde_agent.spool import Chunk, Spool, StreamView
from sonde_agent.spool.bounds import Bounds
from sonde_proto.v1 import ingest_pb2

DATABASE = b"d" * 16
OpenSpool = Callable[..., Spool]


def chunks(spool: Spool, stream: StreamView, after: int = 0) -> Iterator[Chunk]:
    """All that a stream holds beyond a seq."""
    while chunk := spool.peek(stream, after, 1000, 1 << 20):
        yield chunk
        after = chunk.last_seq


def account(spool: Spool, after: int = 0) -> tuple[list[int], list[ingest_pb2.Gap]]:
    """All numbers and gaps of the current stream; checks that together they are contiguous."""
    stream = spool.streams()[-1]
    numbers: list[int] = []
    gaps: list[ingest_pb2.Gap] = []
    seqs: set[int] = set()
    for chunk in chunks(spool, stream, after):
        numbers += [number(kept) for _, kept in chunk.results]
        gaps += chunk.gaps
        seqs |= {seq for seq, _ in chunk.results}
        seqs |= {seq for gap in chunk.gaps for seq in range(gap.first_seq, gap.last_seq + 1)}
    assert seqs == set(range(after + 1, stream.highest_seq + 1))
    return numbers, gaps


def fill(spool: Spool, count: int, burst: int = 500, first: int = 0) -> None:
    """Append numbered results in bursts."""
    for start in range(first, first + count, burst):
        spool.append([result(n) for n in range(start, min(start + burst, first + count))])


def test_full_spool_drops_the_oldest_and_says_so(open_spool: OpenSpool) -> None:
    """Past its bound the newest are kept, and one gap tells what went and when it was measured."""
    spool = open_spool(max_bytes=512 << 10)
    fill(spool, 10_000)
    numbers, (gap,) = account(spool)
    assert numbers == list(range(gap.last_seq, 10_000))
    assert gap.first_seq == 1
    assert gap.reason == ingest_pb2.GAP_REASON_SPOOL_FULL
    assert (gap.from_us, gap.until_us) == (START_US, START_US + (gap.last_seq - 1) * 1000)
    assert spool.stats().bytes <= 512 << 10
    assert spool.stats().rows == len(numbers) > 2000


def test_history_goes_before_what_waits(open_spool: OpenSpool) -> None:
    """Acked results make room first; nothing that waits is dropped for them."""
    spool = open_spool(max_bytes=512 << 10)
    fill(spool, 2500)
    spool.ack(spool.streams()[-1], 2000, DATABASE)
    fill(spool, 3500, first=2500)
    numbers, gaps = account(spool, after=2000)
    assert numbers == list(range(2000, 6000))
    assert not gaps
    assert 0 < spool.stats().history < 2000


def test_dropped_but_committed_is_no_gap(open_spool: OpenSpool) -> None:
    """What was under way when it was dropped is trimmed from the gap by the ack that follows."""
    spool = open_spool(max_bytes=512 << 10)
    fill(spool, 1000)
    stream = spool.streams()[-1]
    sent = spool.peek(stream, 0, 500, 1 << 20)
    fill(spool, 10_000, first=1000)
    spool.ack(stream, sent.last_seq, DATABASE, sent.chain)
    numbers, (gap,) = account(spool, after=sent.last_seq)
    assert gap.first_seq == sent.last_seq + 1
    assert numbers[0] == gap.last_seq
    assert spool.stats().gaps == 1


def test_burst_bigger_than_the_bound(open_spool: OpenSpool) -> None:
    """A single append larger than the whole spool keeps its newest part."""
    spool = open_spool(max_bytes=256 << 10)
    spool.append([result(n) for n in range(20_000)])
    numbers, (gap,) = account(spool)
    assert numbers == list(range(gap.last_seq, 20_000))


def test_seq_is_never_given_twice(open_spool: OpenSpool) -> None:
    """Numbers go on after everything was acked, expired and deleted."""
    spool = open_spool(history_s=0)
    fill(spool, 100)
    spool.ack(spool.streams()[-1], 100, DATABASE)
    spool.close()
    later = time.time() + 120
    spool = open_spool(history_s=0, now=lambda: later)
    assert spool.stats().history == 0
    fill(spool, 1)
    assert spool.streams()[-1].highest_seq == 101


def test_old_results_become_a_gap(open_spool: OpenSpool) -> None:
    """What waited longer than max_age is dropped at open, with its reason; younger stays."""
    spool = open_spool()
    fill(spool, 100)
    spool.close()
    spool = open_spool(max_age_s=3600, now=lambda: START_US / 1e6 + 3600.0495)
    numbers, (gap,) = account(spool)
    assert numbers == list(range(50, 100))
    assert (gap.last_seq, gap.reason) == (50, ingest_pb2.GAP_REASON_TOO_OLD)


def test_wall_clock_step_empties_nothing(open_spool: OpenSpool, tmp_path: Path) -> None:
    """A clock that jumps a year ahead is not believed for an hour; one that aged slowly is."""
    spool = open_spool()
    fill(spool, 10)
    spool.close()
    wall, boot = [START_US / 1e6], [100.0]
    bounds = Bounds(32 << 20, 3600, 3600, lambda: wall[0], lambda: boot[0])
    spool = Spool(tmp_path / "state" / "spool.db", bounds, lambda: wall[0])
    wall[0] += 365 * 86400
    boot[0] += 60
    fill(spool, 1, first=10)
    assert spool.stats().rows == 11
    boot[0] += 4000
    wall[0] += 4000
    fill(spool, 1, first=11)
    assert spool.stats().rows == 1
    spool.close()


def test_a_spool_over_its_bound_starts(open_spool: OpenSpool) -> None:
    """A lowered bound is met at open: the oldest go, the file shrinks, the newest are there."""
    spool = open_spool()
    fill(spool, 20_000)
    assert spool.stats().bytes > 1 << 20
    spool.close()
    spool = open_spool(max_bytes=512 << 10)
    numbers, (gap,) = account(spool)
    assert numbers == list(range(gap.last_seq, 20_000))
    assert spool.stats().bytes <= 512 << 10


def test_file_that_can_not_grow_keeps_the_newest(open_spool: OpenSpool) -> None:
    """When SQLite gets no more pages, append goes on by dropping the oldest, with a gap."""
    spool = open_spool()
    fill(spool, 2000)
    spool._book.db.execute("PRAGMA max_page_count = 1").fetchall()  # SQLite makes it the present size
    fill(spool, 20_000, first=2000)
    numbers, gaps = account(spool)
    assert numbers[-1] == 21_999
    assert len(gaps) == 1
    assert len(numbers) + gaps[0].last_seq == 22_000


def test_failing_disk_counts_what_is_lost(open_spool: OpenSpool) -> None:
    """While no write succeeds append does not raise, and a gap says so once one does."""
    spool = open_spool()
    fill(spool, 10)
    spool._book.db.execute("PRAGMA query_only = 1")
    fill(spool, 30, first=10, burst=10)
    assert spool.stats().lost == 30
    spool._book.db.execute("PRAGMA query_only = 0")
    fill(spool, 10, first=40)
    numbers, (gap,) = account(spool)
    assert numbers == [*range(10), *range(40, 50)]
    assert (gap.first_seq, gap.last_seq) == (11, 40)
    assert (gap.from_us, gap.until_us) == (START_US + 10_000, START_US + 39_000)
    assert spool.stats().lost == 0


def open_on(mount: Path) -> Spool:
    """A spool whose bound is far above what the disk has."""
    return Spool.open(mount / "spool.db", max_bytes=512 << 20, max_age_s=1e9, history_s=1e9)


def take_all(path: Path) -> None:
    """Fill the disk to the last byte."""
    with path.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(b"x" * 4096):
            pass


@pytest.mark.root
def test_full_disk(tmp_path: Path) -> None:
    """On a file system without a free byte append goes on; rows and gaps are all there was."""
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", mount], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {done.stderr.strip()}")
    try:
        with contextlib.closing(open_on(mount)) as spool:
            fill(spool, 5000)
            take_all(mount / "filler")
            for first in range(5000, 65_000, 2000):
                fill(spool, 2000, first=first, burst=100)
                take_all(mount / f"filler-{first}")  # what the reserve gave up is gone at once
            numbers, gaps = account(spool)
            assert numbers[-1] == 64_999
            assert len(numbers) > 3000
            assert len(numbers) + sum(gap.last_seq - gap.first_seq + 1 for gap in gaps) == 65_000
            assert spool.stats().lost == 0
        with contextlib.closing(open_on(mount)) as spool:
            assert account(spool)[0] == numbers
    finally:
        subprocess.run(["umount", mount], check=True)
