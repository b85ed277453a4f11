"""The kind `dns` of the endpoint check against real DNS servers on loopback."""

from support.edges import DnsServer, closed_port
from support.endpoints import DNS, ended, one


async def test_dns_answers_and_failures() -> None:
    """Answers come sorted with rcode and time; NXDOMAIN, SERVFAIL, silence and another set are told apart."""
    zone = {("a.test", "A"): ["192.0.2.9", "192.0.2.10"], ("a.test", "MX"): ["10 Mail.test."]}
    with DnsServer(zone) as server:
        got = await one(DNS, "a.test", dns_server=server.address)
        mail = await one(DNS, "a.test", dns_server=server.address, dns_type="MX")
        other = await one(
            DNS, "a.test", dns_server=server.address, expect={"answers": ["192.0.2.9", "192.0.2.1"]}
        )
        empty = await one(DNS, "b.test", dns_server=server.address)
    assert got.ok
    assert (got.status, got.answers, got.address) == (0, "192.0.2.10,192.0.2.9", "127.0.0.1")
    assert got.resolve_ms > 0
    assert got.quality == 0
    assert mail.answers == "10 mail.test"
    assert other.mismatch == "the answers differ: missing 192.0.2.1; not expected 192.0.2.10"
    assert ended(empty) == ("NO_ADDRESS", "RESOLVE")
    with DnsServer({}, rcode=3) as server:
        assert ended(await one(DNS, "a.test", dns_server=server.address)) == ("NO_ADDRESS", "RESOLVE")
        assert (await one(DNS, "a.test", dns_server=server.address, expect={"status": [3]})).ok
    with DnsServer({}, rcode=2) as server:
        failed = await one(DNS, "a.test", dns_server=server.address)
    assert ended(failed) == ("DNS", "RESOLVE")
    assert "SERVFAIL" in failed.mismatch
    assert ended(await one(DNS, "a.test", dns_server=f"127.0.0.1:{closed_port()}")) == (
        "REFUSED",
        "TRANSPORT",
    )


async def test_dns_goes_to_tcp_after_truncation() -> None:
    """A truncated answer is asked for again over TCP."""
    with DnsServer({("a.test", "TXT"): ['"one" "two"']}, truncate=True) as server:
        got = await one(DNS, "a.test", dns_server=server.address, dns_type="TXT")
    assert got.ok
    assert got.answers == "onetwo"
    assert got.HasField("connect_ms")
