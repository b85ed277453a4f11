"""Rows per second from gRPC to committed, beside the fastest server-side COPY of the same rows.

A PostgreSQL of its own (fsync on), the collector's ingestion in a process of its own, and this process as 50
agents with mTLS, four batches under way each. The reference runs the same transactions (locks of cursors and
parents, marks, batches, cursors: the collector's own code and SQL), but its rows come from binary files on
the server; once with one connection, once with two, and the faster counts. Rounds alternate.

usage: python benchmarks/ingest.py [--only ingest_vs_copy,...] [--rows N] [--rounds N]
"""

import argparse
import asyncio
import contextlib
import datetime as dt
import ipaddress
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psycopg
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.builders import inventory  # noqa: E402
from support.postgres import Server  # noqa: E402

from sonde_collector.db import copy as db_copy  # noqa: E402
from sonde_collector.db import partitions  # noqa: E402
from sonde_collector.db.migrate import migrate  # noqa: E402
from sonde_collector.db.pool import Database  # noqa: E402
from sonde_collector.ingest import transaction  # noqa: E402
from sonde_collector.ingest.arrival import take_in  # noqa: E402
from sonde_collector.ingest.metrics import IngestMetrics  # noqa: E402
from sonde_collector.ingest.service import SERVER_OPTIONS, IngestService  # noqa: E402
from sonde_collector.ingest.settings import IngestSettings  # noqa: E402
from sonde_collector.ingest.writer import Writer  # noqa: E402
from sonde_proto.v1 import ingest_pb2, results_pb2  # noqa: E402

ROWS = (
    "ingest_vs_copy",
    "ingest_rows_per_s",
    "ingest_rows_per_s_row",
    "ingest_rows_per_s_20",
    "ingest_rows_per_s_1",
)

AGENTS = 50
SERVERS = 2000
PER_AGENT = 200  # servers that one agent measures
UNDER_WAY = 4
SET_CURSOR = "UPDATE sonde.streams SET acked_seq = %s WHERE epoch = %s"
FILE_ROWS = 20_000  # rows of one transaction, as the collector's default
PG = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "synchronous_commit": "on",
    "checkpoint_timeout": "15min",
}


def epoch(agent: int) -> bytes:
    """The stream of an agent."""
    return agent.to_bytes(16, "little")


def messages(agent: int, rows: int, size: int) -> list[ingest_pb2.Batch]:
    """An agent's batches of ping results: rounds over its servers, each row some ms after the one before."""
    dice = np.random.default_rng(agent)
    start = time.time_ns() // 1000 - 3_600_000_000
    names = [f"s{(agent * 37 + n) % SERVERS}" for n in range(PER_AGENT)]
    found = []
    for first in range(0, rows, size):
        n = min(size, rows - first)
        place = (np.arange(first, first + n)) % PER_AGENT
        used, codes = np.unique(place, return_inverse=True)
        rtt = dice.gamma(4, 12, n).astype("<f4")
        lost = dice.random(n) < 0.05
        failed = np.where(lost, np.nan, rtt).astype("<f4")

        def real(scale: float, values: Any = failed) -> bytes:
            return (values * np.float32(scale)).astype("<f4").tobytes()

        count = np.full(n, 10, "<i4")
        columns = results_pb2.PerformanceColumns(
            seq=np.arange(first + 1, first + n + 1, dtype="<i8").tobytes(),
            measured_at_us=(start + np.arange(first, first + n) * 5000 + dice.integers(0, 5000, n)).tobytes(),
            target=(codes + 1).astype("<i4").tobytes(),
            ping_ms=real(1), jitter_ms=real(0.1), rtt_min_ms=real(0.9), rtt_mean_ms=real(1.02),
            rtt_p95_ms=real(1.2), rtt_max_ms=real(1.3), rtt_stddev_ms=real(0.1), ipdv_mean_abs_ms=real(0.1),
            pdv_p95_ms=real(0.2), connection_success=(~lost).astype("i1").tobytes(),
            packet_loss_pct=np.where(lost, 100, 0).astype("<f4").tobytes(), sent=count.tobytes(),
            received=np.where(lost, 0, 10).astype("<i4").tobytes(),
            ttl=np.where(lost, -1, 57).astype("<i4").tobytes(), family=np.full(n, 4, "<i4").tobytes(),
            failure=np.where(lost, 1, 0).astype("i1").tobytes(),
            stage=np.where(lost, 2, 0).astype("i1").tobytes(),
        )  # fmt: skip
        found.append(
            ingest_pb2.Batch(
                vantage=f"v{agent}", epoch=epoch(agent), instance=bytes(16), first_seq=first + 1,
                last_seq=first + n,
                chain=os.urandom(32), agent_version="0.1.0", config_revision=1, sent_at_us=start,
                strings=["", *(names[code] for code in used)], performance=columns,
            )
        )  # fmt: skip
    return found


def fresh(server: Server) -> str:
    """A migrated database with inventory and partitions; returns its URL."""
    server.drop("bench")
    url = server.create("bench")
    with psycopg.connect(url, autocommit=True) as conn:
        migrate(conn)
        vantages = [f"v{agent}" for agent in range(AGENTS)]
        inventory(conn, vantages=vantages, servers=[f"s{number}" for number in range(SERVERS)])
        partitions.keep_ahead(conn, every="month", ahead=1)
        conn.execute("ANALYZE")
        conn.execute("CHECKPOINT")
    return url


def copied(server: Server, batches: Sequence[Sequence[ingest_pb2.Batch]], connections: int) -> float:
    """Rows per second of the reference."""
    url = fresh(server)
    folder = server.directory / "files"
    folder.mkdir(exist_ok=True)
    order = [batch for turn in zip(*batches, strict=True) for batch in turn]
    works: list[list[tuple[transaction.Prepared, Path]]] = [[] for _ in range(connections)]
    total = 0
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO sonde.streams (probe_id, epoch)"
            " SELECT p.id, e FROM unnest(%s::bytea[], %s::text[]) x (e, c)"
            " JOIN probe_locations p ON p.code = c",
            ([epoch(agent) for agent in range(AGENTS)], [f"v{agent}" for agent in range(AGENTS)]),
        )
        for number in range(connections):
            mine = [batch for batch in order if int(batch.vantage[1:]) % connections == number]
            per = max(1, FILE_ROWS // int(mine[0].last_seq))
            for low in range(0, len(mine), per):
                now = time.time_ns() // 1000
                arrivals = [
                    take_in(batch, session=0, received_at_us=now, size=0) for batch in mine[low : low + per]
                ]
                prepared = transaction.prepare(arrivals, IngestSettings())
                path = folder / f"{number}-{low}"
                for arrival in reversed(arrivals):
                    conn.execute(SET_CURSOR, (arrival.first_seq - 1, arrival.epoch))
                capture(conn, prepared, path)
                works[number].append((prepared, path))
                total += sum(arrival.rows for arrival in arrivals)

        conn.execute("UPDATE sonde.streams SET acked_seq = 0")

    def work(conn: psycopg.Connection, items: list[tuple[transaction.Prepared, Path]]) -> None:
        for prepared, path in items:
            conn.execute("SELECT set_config('bench.file', %s, false)", (str(path),))
            transaction.write(conn, prepared, by_row=False)

    with from_files():
        conns = [psycopg.connect(url, autocommit=True) for _ in works]
        threads = [threading.Thread(target=work, args=pair) for pair in zip(conns, works, strict=True)]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - started
        for conn in conns:
            conn.close()
    with psycopg.connect(url) as conn:
        assert conn.execute("SELECT count(*) FROM performance_logs").fetchone() == (total,)
    return total / took


class _Captured(Exception):  # it ends a transaction whose bytes were all that was wanted
    pass


def capture(conn: psycopg.Connection, prepared: transaction.Prepared, path: Path) -> None:
    """Writes the bytes that the collector would COPY into a file, and nothing into the database."""

    def keep(_conn: psycopg.Connection, _table: str, _names: Sequence[str], data: bytes) -> None:
        path.write_bytes(data)
        raise _Captured

    transaction.send = keep
    try:
        with contextlib.suppress(_Captured):
            transaction.write(conn, prepared, by_row=False)
    finally:
        transaction.send = db_copy.send


@contextlib.contextmanager
def from_files() -> Iterator[None]:
    """Within, a write takes its rows from the file named by bench.file, and nothing is encoded."""
    kept = transaction.send, transaction.encode, transaction.cells

    def send(conn: psycopg.Connection, table: str, names: Sequence[str], _data: bytes) -> None:
        row = conn.execute("SHOW bench.file").fetchone()
        assert row is not None
        conn.execute(f"COPY {table} ({', '.join(names)}) FROM '{row[0]}' (FORMAT binary)".encode())

    transaction.send, transaction.encode, transaction.cells = send, lambda *_: b"", lambda *_: []
    try:
        yield
    finally:
        transaction.send, transaction.encode, transaction.cells = kept


def certificate(name: str, authority: Any = None) -> Any:
    """(certificate, key) of that common name; an authority without one given."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, signer = (authority[0].subject, authority[1]) if authority else (subject, key)
    now = dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=9)).add_extension(address, critical=False)
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
    )  # fmt: skip
    return builder.sign(signer, hashes.SHA256()), key


def pem(of: Any) -> tuple[bytes, bytes]:
    """(key, certificate) as gRPC takes them."""
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return of[1].private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain), of[0].public_bytes(
        encoding
    )


async def agent(channel: grpc.aio.Channel, number: int, batches: list[bytes]) -> None:
    """Sends its batches with some under way, until all are acked."""
    hello = ingest_pb2.Batch(vantage=f"v{number}", epoch=epoch(number), instance=bytes(16))
    call = channel.stream_stream("/sonde.v1.Ingest/Stream", response_deserializer=ingest_pb2.Ack.FromString)()
    await call.write(hello.SerializeToString())
    await call.read()
    last = [int(ingest_pb2.Batch.FromString(batch).last_seq) for batch in batches]
    await go.wait()
    sent = acked = 0
    while acked < len(batches):
        while sent < len(batches) and sent - acked < UNDER_WAY:
            await call.write(batches[sent])
            sent += 1
        ack = await call.read()
        while acked < len(batches) and last[acked] <= ack.acked_seq:
            acked += 1
    await call.done_writing()


go = asyncio.Event()


async def delivered(url: str, batches: list[list[bytes]], fk: str) -> tuple[float, float]:
    """Seconds from the first batch to the last ack, and the collector's CPU seconds."""
    authority = certificate("bench authority")
    root = pem(authority)[1]
    go.clear()
    with tempfile.TemporaryDirectory() as folder:
        for name, data in zip(("key", "cert"), pem(certificate("collector", authority)), strict=True):
            (Path(folder) / name).write_bytes(data)
        (Path(folder) / "ca").write_bytes(root)
        command = [sys.executable, __file__, "--collector", url, fk, folder]
        collector = subprocess.Popen(  # noqa: ASYNC220  # made once, before anything is timed
            command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
        )
        assert collector.stdout is not None
        assert collector.stdin is not None
        try:
            port = collector.stdout.readline().strip()
            channels = []
            for number in range(AGENTS):
                credentials = grpc.ssl_channel_credentials(root, *pem(certificate(f"v{number}", authority)))
                options = (("grpc.use_local_subchannel_pool", 1),)
                channels.append(grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options))
            await asyncio.gather(*(channel.channel_ready() for channel in channels))
            tasks = [asyncio.create_task(agent(channels[n], n, batches[n])) for n in range(AGENTS)]
            await asyncio.sleep(1)  # every hello is answered
            before = cpu(collector.pid)
            started = time.perf_counter()
            go.set()
            await asyncio.gather(*tasks)
            took = time.perf_counter() - started
            used = cpu(collector.pid) - before
            for channel in channels:
                await channel.close()
        finally:
            collector.stdin.close()
            collector.wait(30)
    return took, used


def cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def collect(url: str, fk: Any, folder: Path) -> None:
    """The collector's process: serves until its stdin ends."""
    read = {name: (folder / name).read_bytes() for name in ("key", "cert", "ca")}
    credentials = grpc.ssl_server_credentials(
        [(read["key"], read["cert"])], read["ca"], require_client_auth=True
    )
    database, metrics = Database(url), IngestMetrics(CollectorRegistry())
    service = IngestService(database, Writer(database, IngestSettings(fk_check=fk), metrics), metrics)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    service.add_to(server)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    service.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await service.stop(1)
    await server.stop(0)


def one(server: Server, rows: int, size: int, fk: str) -> tuple[float, float]:
    """Rows per second and collector microseconds of CPU per row of one delivery."""
    url = fresh(server)
    batches = [
        [batch.SerializeToString() for batch in messages(n, rows // AGENTS, size)] for n in range(AGENTS)
    ]
    took, used = asyncio.run(delivered(url, batches, fk))
    with psycopg.connect(url) as conn:
        total = conn.execute("SELECT count(*) FROM performance_logs").fetchone()
        assert total == (rows // AGENTS * AGENTS,), total
    return total[0] / took, used / total[0] * 1e6


def row(values: list[float], cpus: list[float], reference: float | None, note: str) -> dict[str, Any]:
    """One row of results."""
    value = statistics.median(values)
    return {
        "value": round(value),
        "unit": "rows/s",
        "reference": None if reference is None else round(reference),
        "ratio": None if reference is None else round(value / reference, 3),
        "samples": len(values),
        "spread": f"{min(values):.0f} to {max(values):.0f}",
        "command": "python benchmarks/ingest.py",
        "note": f"{note}; 50 mTLS agents, load generator and PostgreSQL on the same {os.cpu_count()} cores, "
        f"fsync on; collector CPU {statistics.median(cpus):.2f} us/row",
    }


def measure(only: set[str], rows: int, rounds: int) -> dict[str, dict[str, Any]]:
    """Runs what is asked for."""
    found: dict[str, dict[str, Any]] = {}
    server = Server(durable=True, settings=PG)
    server.start()
    try:
        if only & {"ingest_vs_copy", "ingest_rows_per_s"}:
            ours: list[tuple[float, float]] = []
            theirs: dict[int, list[float]] = {1: [], 2: []}
            for _ in range(rounds):
                for connections, rates in theirs.items():
                    made = [messages(n, rows // AGENTS, 1000) for n in range(AGENTS)]
                    rates.append(copied(server, made, connections))
                ours.append(one(server, rows, 1000, "batch"))
            fastest = max(statistics.median(rates) for rates in theirs.values())
            told = ", ".join(f"{statistics.median(rates):.0f}/s with {n}" for n, rates in theirs.items())
            both = row(
                *map(list, zip(*ours, strict=True)), fastest, f"batches of 1000, fk_check batch; COPY: {told}"
            )
            found |= {name: both for name in ("ingest_vs_copy", "ingest_rows_per_s") if name in only}
        for name, size, fk, fewer in (
            ("ingest_rows_per_s_row", 1000, "row", 2),
            ("ingest_rows_per_s_20", 20, "batch", 4),
            ("ingest_rows_per_s_1", 1, "batch", 40),
        ):
            if name in only:
                ours = [one(server, rows // fewer, size, fk) for _ in range(rounds)]
                found[name] = row(
                    *map(list, zip(*ours, strict=True)), None, f"batches of {size}, fk_check {fk}"
                )
    finally:
        server.stop()
    return found


def main() -> None:
    """Measures and prints the rows; with --collector, is the process that is measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(ROWS), help="which rows, comma-separated")
    parser.add_argument("--rows", type=int, default=800_000, help="results of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--collector", nargs=3, metavar=("URL", "FK", "FOLDER"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.collector:
        url, fk, folder = args.collector
        asyncio.run(collect(url, fk, Path(folder)))
    else:
        print(json.dumps(measure(set(args.only.split(",")) & set(ROWS), args.rows, args.rounds)))


if __name__ == "__main__":
    main()
