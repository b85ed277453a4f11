"""ICMP echo as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.net.echoes import sockaddr, source_of
from sonde_agent.net.icmp_packet import MalformedPacket, build_requests, checksum, parse_echo

U16 = st.integers(0, 0xFFFF)
TOKEN = st.binary(min_size=8, max_size=8)
NONCES = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20)
FAMILY = st.sampled_from([4, 6])


def plain_checksum(data: bytes) -> int:
    """RFC 1071 word by word, as it is written there."""
    data += b"\0" * (len(data) % 2)
    total = 0
    for i in range(0, len(data), 2):
        total += data[i] << 8 | data[i + 1]
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def test_checksum_of_the_rfc() -> None:
    """The example of RFC 1071 section 3: 0001 f203 f4f5 f6f7 sums to ddf2."""
    assert checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2


@given(
    st.binary(max_size=1500) | st.sampled_from([b"", b"\0" * 8, b"\xff" * 8, b"\xff\xff", b"\xff\xfe\0\x01"])
)
def test_checksum_is_the_word_sum(data: bytes) -> None:
    """The division gives what adding word by word gives, for every content and length."""
    assert checksum(data) == plain_checksum(data)


def split(packets: bytes) -> list[bytes]:
    """The packets that lie one behind the other."""
    return [packets[at : at + 24] for at in range(0, len(packets), 24)]


@given(U16, TOKEN, NONCES, st.integers(0, 1384))
def test_every_request_verifies(identifier: int, token: bytes, nonces: list[int], zeros: int) -> None:
    """Each IPv4 request's checksum verifies, however many zeros are sent behind it, odd ones included."""
    for packet in split(build_requests(4, identifier, token, nonces)):
        assert plain_checksum(packet + b"\0" * zeros) == 0
        assert checksum(packet) == 0


@given(FAMILY, U16, TOKEN, NONCES)
def test_what_is_built_is_parsed(family: int, identifier: int, token: bytes, nonces: list[int]) -> None:
    """Parsing the requests of a run gives its identifier, numbers, token and nonces back."""
    echoes = [
        parse_echo(family, packet) for packet in split(build_requests(family, identifier, token, nonces))
    ]
    assert [(e.reply, e.identifier, e.sequence) for e in echoes] == [
        (False, identifier, i) for i in range(len(nonces))
    ]
    assert [e.payload for e in echoes] == [token + nonce.to_bytes(8, "big") for nonce in nonces]


@given(FAMILY, st.binary(max_size=100))
def test_arbitrary_bytes_parse_or_are_refused(family: int, packet: bytes) -> None:
    """Whatever a host sends, it is an echo or MalformedPacket, nothing else."""
    try:
        echo = parse_echo(family, packet)
    except MalformedPacket:
        return
    assert echo.payload == packet[8:]


@pytest.mark.parametrize("address", ["224.0.0.1", "0.0.0.0", "255.255.255.255", "::1", "nonsense"])
def test_only_unicast_targets(address: str) -> None:
    """What is no address of one IPv4 host is refused before anything is sent."""
    with pytest.raises(ValueError, match="address"):
        sockaddr(4, address)


@given(st.ip_addresses(v=4))
def test_sources_tell_addresses_apart(address: object) -> None:
    """Two IPv4 senders compare equal exactly when their addresses do."""
    text = str(address)
    try:
        name = sockaddr(4, text)
    except ValueError:
        return
    other = sockaddr(4, "198.51.100.7")
    assert (source_of(4, name) == source_of(4, other)) == (text == "198.51.100.7")
