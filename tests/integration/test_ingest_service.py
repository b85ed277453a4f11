"""The Ingest service over real gRPC into a real PostgreSQL: what an agent is told, and when."""

import asyncio
import datetime as dt
import ipaddress

import grpc
import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.builders import Spool, endpoint, inventory, now_us, performance
from support.ingest import Agent, collector, connection, expected, stored, until

from sonde_collector.ingest.writer import CannotSkipChecks
from sonde_proto.v1 import ingest_pb2

pytestmark = pytest.mark.postgres
DAY_US = 86_400_000_000


@pytest.fixture
def url(database_url: str) -> str:
    """A database with two vantages, a server and a target."""
    with connection(database_url) as conn:
        inventory(conn, vantages=["ams1", "fra1"])
    return database_url


def rows(url: str) -> list[tuple[bytes, int]]:
    """See `stored`."""
    with connection(url) as conn:
        return stored(conn)


async def test_an_ack_means_committed(url: str) -> None:
    """Hello gives the cursor; an ack's rows are in the database; the clock exchange is echoed."""
    spool = Spool()
    async with collector(url) as running, Agent(running.address, spool) as agent:
        first = await agent.hello()
        assert (first.acked_seq, first.chain, len(first.database_id)) == (0, b"", 16)
        for _ in range(5):
            batch = spool.batch([performance(), endpoint()])
            await agent.send(batch)
            ack = await agent.acked(spool.last_seq)
            assert rows(url) == expected(spool)
            assert ack.chain == spool.chain
            assert ack.batch_sent_at_us == batch.sent_at_us
            assert batch.sent_at_us <= ack.received_at_us <= ack.sent_at_us <= now_us()
        await agent.done()
        assert (await agent.status())[0] is grpc.StatusCode.OK
        assert running.metric("sonde_ingest_rows_total") == 10
        assert running.metric("sonde_ingest_queue_bytes") == 0


async def test_a_reconnecting_agent_goes_on_at_the_cursor(url: str) -> None:
    """A second connection is answered with cursor and chain; what it sends again is trimmed and acked."""
    spool = Spool()
    batch = spool.batch([performance(), performance()])
    async with collector(url) as running:
        async with Agent(running.address, spool) as agent:
            await agent.hello()
            await agent.send(batch)
            await agent.acked(2)
        async with Agent(running.address, spool) as agent:
            cursor = await agent.hello()
            assert (cursor.acked_seq, cursor.chain) == (2, spool.chain)
            await agent.send(batch)
            assert (await agent.ack()).acked_seq == 2
            await agent.send(spool.batch([performance()]))
            await agent.acked(3)
        assert running.metric("sonde_ingest_trimmed_rows_total") == 2
    assert rows(url) == expected(spool)


async def test_the_newest_connection_fences_the_older(url: str) -> None:
    """In one collector the older connection ends ABORTED at once; in two, at its next batch."""
    spool = Spool()
    async with collector(url) as one, collector(url) as two:  # noqa: SIM117  # two, then who connects
        async with Agent(one.address, spool) as old, Agent(one.address, spool) as new:
            await old.hello()
            await new.hello()
            code, detail = await old.status()
            assert code is grpc.StatusCode.ABORTED
            assert "fenced" in detail
            async with Agent(two.address, spool) as newest:
                await newest.hello()
                batch = spool.batch([performance()])
                await new.send(batch)
                assert (await new.status())[0] is grpc.StatusCode.ABORTED
                await newest.send(batch)
                await newest.acked(1)
    assert rows(url) == expected(spool)


async def test_hellos_that_are_refused(url: str) -> None:
    """An unknown vantage, another's spool, a clone and a copy each get their status and what to do."""
    spool = Spool()
    async with collector(url) as running:

        async def refused(which: Spool, acked_seq: int = 0, **values: object) -> tuple[grpc.StatusCode, str]:
            async with Agent(running.address, which) as agent:
                await agent.send(which.hello(acked_seq, **values))
                return await agent.status()

        code, detail = await refused(Spool("nowhere"))
        assert code is grpc.StatusCode.NOT_FOUND
        assert "fleet.toml" in detail
        async with Agent(running.address, spool) as agent:
            await agent.hello()
            await agent.send(spool.batch([performance()]))
            await agent.acked(1)
            code, detail = await refused(spool, 1, copied=True, instance=bytes(16))
            assert code is grpc.StatusCode.FAILED_PRECONDITION
            assert "cloned spool" in detail
        code, detail = await refused(spool, 1, chain=bytes(32))
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "history" in detail
        code, detail = await refused(spool, 1, vantage="fra1")
        assert code is grpc.StatusCode.FAILED_PRECONDITION
        assert "'ams1'" in detail
        for values in ({"epoch": b"short"}, {"vantage": ""}, {"last_seq": 3}):
            assert (await refused(spool, **values))[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_restored_spool_is_taken_when_its_original_is_gone(url: str) -> None:
    """A copy whose original left may go on: what was committed is trimmed by the cursor."""
    spool = Spool()
    async with collector(url) as running:
        async with Agent(running.address, spool) as agent:
            await agent.hello()
            await agent.send(spool.batch([performance()]))
            await agent.acked(1)
            await agent.done()
            await agent.status()

        def left() -> bool:
            with connection(url) as conn:
                row = conn.execute("SELECT live_until <= now() FROM sonde.streams").fetchone()
                return row is not None and bool(row[0])

        await until(left)
        async with Agent(running.address, spool) as agent:
            assert (await agent.hello(0, copied=True, instance=bytes(16))).acked_seq == 1


async def test_malformed_batches_name_what_is_wrong(url: str) -> None:
    """What makes no sense ends INVALID_ARGUMENT, a hole OUT_OF_RANGE; nothing is written."""
    holes = grpc.StatusCode.OUT_OF_RANGE
    malformed = grpc.StatusCode.INVALID_ARGUMENT
    cases = [
        ({"last_seq": 9}, malformed, "neither a row nor in a gap"),
        ({"first_seq": 5, "last_seq": 5}, malformed, "outside the batch"),
        ({"chain": b"x"}, malformed, "chain"),
        ({"epoch": bytes(16)}, malformed, "epoch"),
        ({"vantage": "fra1"}, malformed, "vantage"),
    ]
    async with collector(url) as running:
        for values, status, words in cases:
            spool = Spool()
            async with Agent(running.address, spool) as agent:
                await agent.hello()
                await agent.send(spool.batch([performance()], **values))
                code, detail = await agent.status()
                assert code is status
                assert words in detail
        spool = Spool()
        async with Agent(running.address, spool) as agent:
            await agent.hello()
            spool.batch([performance()])
            await agent.send(spool.batch([performance()]))
            assert (await agent.status())[0] is holes
        spool = Spool()
        async with grpc.aio.insecure_channel(running.address) as channel:
            call = channel.stream_stream("/sonde.v1.Ingest/Stream")()
            await call.write(b"\xff\xff\xff")
            assert await call.code() is malformed
            assert "not a Batch" in (await call.details() or "")
    assert rows(url) == []


async def test_an_oversized_batch_says_so(url: str) -> None:
    """More than 8 MiB is INVALID_ARGUMENT with both sizes; the stream goes on with smaller ones."""
    spool = Spool()
    async with collector(url) as running:
        async with Agent(running.address, spool) as agent:
            await agent.hello()
            await agent.send(spool.batch([performance()], agent_version="x" * (9 << 20)))
            code, detail = await agent.status()
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert str(8 << 20) in detail
        spool.last_seq = 0
        async with Agent(running.address, spool) as agent:
            await agent.hello()
            await agent.send(spool.batch([performance()]))
            await agent.acked(1)


async def test_late_results_get_their_partition(url: str) -> None:
    """Results of weeks ago are written, in partitions made for them; older ones are rejected."""
    spool = Spool()
    days = [0, 3, 12, 29, 40]
    async with collector(url, partition_every="day") as running, Agent(running.address, spool) as agent:
        await agent.hello()
        await agent.send(spool.batch([performance(at_us=now_us() - day * DAY_US) for day in days]))
        await agent.acked(5)
        assert running.metric("sonde_ingest_rejected_rows_total", reason="too_old") == 1
    with connection(url) as conn:
        found = conn.execute("SELECT count(DISTINCT tableoid) FROM performance_logs").fetchone()
        assert found == (4,)
    assert rows(url) == expected(spool)


async def test_a_full_queue_holds_agents_back_and_drops_nothing(url: str) -> None:
    """While a write waits for a lock, memory stays bounded and the stream is not read; then all arrives."""
    spool = Spool()
    # Far more than the sockets and gRPC hold by themselves: 40 batches of 0.6 MB.
    batches = [spool.batch([endpoint(answers=f"{n}-{m}" * 8000) for m in range(20)]) for n in range(40)]
    size = max(batch.ByteSize() for batch in batches)
    async with collector(url, queue_bytes=4 * size, writers=1) as running:  # noqa: SIM117  # the agent ends first
        async with Agent(running.address, spool) as agent:
            await agent.hello()
            with psycopg.connect(url) as blocker:
                blocker.execute("LOCK TABLE sonde.streams IN ACCESS EXCLUSIVE MODE")

                async def send() -> None:
                    for batch in batches:
                        await agent.send(batch)

                sending = asyncio.create_task(send())
                await until(lambda: running.writer.full)
                done, _ = await asyncio.wait([sending], timeout=0.5)
                assert not done, "every batch was taken although nothing could be committed"
                assert running.metric("sonde_ingest_queue_bytes") <= 5 * size
                blocker.rollback()
            await agent.acked(spool.last_seq)
            await sending
    assert rows(url) == expected(spool)


async def test_a_graceful_stop_acks_what_is_committed(url: str) -> None:
    """At a stop what was taken is committed and acked, then every agent hears UNAVAILABLE; new ones too."""
    spools = [Spool() for _ in range(3)]
    async with collector(url) as running:
        agents = [Agent(running.address, spool) for spool in spools]
        for agent in agents:
            await agent.hello()
            for _ in range(20):
                await agent.send(agent.spool.batch([performance() for _ in range(100)]))
        await until(lambda: running.metric("sonde_ingest_rows_total") > 0)
        stopping = asyncio.create_task(running.service.stop())
        acked = {}
        for agent in agents:
            seq = 0
            try:
                while True:
                    seq = (await agent.ack()).acked_seq
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017  # the loop's only end
            acked[agent.spool.epoch] = seq
        await stopping
        late = Agent(running.address, Spool())
        await late.send(late.spool.hello())
        assert (await late.status())[0] is grpc.StatusCode.UNAVAILABLE
        for agent in [*agents, late]:
            await agent.__aexit__()
    assert rows(url) == sorted((epoch, seq) for epoch, last in acked.items() for seq in range(1, last + 1))


async def test_skipping_checks_needs_the_right(url: str) -> None:
    """A role that may not set session_replication_role is told at the start which GRANT it lacks."""
    with connection(url) as conn:
        conn.execute("DROP ROLE IF EXISTS plain")
        conn.execute("CREATE ROLE plain LOGIN")
    plain = url.replace("postgres@", "plain@")
    with pytest.raises(CannotSkipChecks, match='GRANT SET ON PARAMETER session_replication_role TO "plain"'):
        async with collector(plain, fk_check="batch"):
            pass


def certificate(
    name: str, authority: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate of that common name for 127.0.0.1, self-signed as an authority or signed by one."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer, signer = (authority[0].subject, authority[1]) if authority else (subject, key)
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=authority is None, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
    )  # fmt: skip
    return builder.sign(signer, hashes.SHA256()), key


def pem(of: tuple[x509.Certificate, ec.EllipticCurvePrivateKey]) -> tuple[bytes, bytes]:
    """(key, certificate) as gRPC takes them."""
    plain = serialization.NoEncryption()
    private = of[1].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    return private, of[0].public_bytes(serialization.Encoding.PEM)


async def test_a_certificate_speaks_for_its_vantage_alone(url: str) -> None:
    """On mTLS the certificate's common name must be the hello's vantage."""
    authority = certificate("test authority")
    root = pem(authority)[1]
    server = grpc.ssl_server_credentials(
        [pem(certificate("collector", authority))], root, require_client_auth=True
    )
    key, chain = pem(certificate("ams1", authority))
    client = grpc.ssl_channel_credentials(root, key, chain)
    async with collector(url, server) as running:
        async with Agent("", Spool("ams1"), grpc.aio.secure_channel(running.address, client)) as agent:
            await agent.hello()
            await agent.send(agent.spool.batch([performance()]))
            await agent.acked(1)
        async with Agent("", Spool("fra1"), grpc.aio.secure_channel(running.address, client)) as agent:
            await agent.send(agent.spool.hello())
            code, detail = await agent.status()
            assert code is grpc.StatusCode.PERMISSION_DENIED
            assert "ams1" in detail
            assert "fra1" in detail


async def test_gaps_alone_move_the_cursor(url: str) -> None:
    """A batch of nothing but a gap is committed and acked."""
    spool = Spool()
    async with collector(url) as running, Agent(running.address, spool) as agent:
        await agent.hello()
        await agent.send(spool.batch([ingest_pb2.GAP_REASON_SPOOL_FULL]))
        await agent.acked(1)
    assert rows(url) == expected(spool)
