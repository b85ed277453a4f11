"""IKE_SA_INIT's messages: what an answer means, whatever it holds."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.net.handshake import ike_message
from sonde_agent.net.handshake.ike_message import GROUPS, Meaning, Request, first_group


def parts(datagram: bytes) -> list[tuple[int, bytes]]:
    """The payloads of a message, kind and content."""
    kind, at, found = datagram[16], 28, []
    while kind:
        following, _, length = struct.unpack_from(">BBH", datagram, at)
        found.append((kind, datagram[at + 4 : at + length]))
        kind, at = following, at + length
    assert at == len(datagram)
    return found


def answer(request: Request, *payloads: tuple[int, bytes]) -> bytes:
    """A response to `request` that holds these."""
    kinds = [kind for kind, _ in payloads] + [0]
    body = b"".join(
        struct.pack(">BBH", following, 0, 4 + len(content)) + content
        for (_, content), following in zip(payloads, kinds[1:], strict=True)
    )
    return (
        request.packet()[:8]
        + b"\x09" * 8
        + struct.pack(">BBBBII", kinds[0], 0x20, 34, 0x20, 0, 28 + len(body))
        + body
    )


def notify(kind: int, data: bytes = b"") -> tuple[int, bytes]:
    """A notification."""
    return 41, struct.pack(">BBH", 0, 0, kind) + data


@pytest.mark.parametrize("group", GROUPS)
def test_a_request_is_well_formed_in_every_group(group: int) -> None:
    """It holds proposals, our half of the exchange in that group and a nonce; lengths and order are right."""
    packet = Request(group).packet()
    assert struct.unpack_from(">BBBII", packet, 17) == (0x20, 34, 0x08, 0, len(packet))
    payloads = parts(packet)
    assert [kind for kind, _ in payloads] == [33, 34, 40]
    assert struct.unpack_from(">H", payloads[1][1]) == (group,)
    assert 16 <= len(payloads[2][1]) <= 256


def test_every_group_that_we_can_compute_is_offered() -> None:
    """Each proposal names every group, so that a server can ask for any."""
    offered = parts(Request(31).packet())[0][1]
    assert all(offered.count(struct.pack(">BBH", 4, 0, group)) == 2 for group in GROUPS)


def test_a_server_that_chose_has_shaken_hands() -> None:
    """A response with proposal, key exchange and nonce ends the exchange."""
    request = Request(31)
    assert request.judge(answer(request, (33, b"x"), (34, b"x"), (40, b"x"))).meaning is Meaning.DONE


def test_a_cookie_is_sent_back_first() -> None:
    """The repetition begins with the cookie and is otherwise the same, as the RFC asks."""
    request = Request(31)
    said = request.judge(answer(request, notify(16390, b"cookie")))
    assert said.meaning is Meaning.COOKIE
    before = parts(request.packet())
    request.take_cookie(said.data)
    again = request.packet()
    assert parts(again) == [notify(16390, b"cookie"), *before]
    assert again[:8] == answer(request)[:8]


def test_another_group_is_taken() -> None:
    """The server's wish for another group is read, and the next packet is in it."""
    request = Request(31)
    said = request.judge(answer(request, notify(17, b"\x00\x0e")))
    assert (said.meaning, said.number) == (Meaning.OTHER_GROUP, 14)
    request.take_group(14)
    assert parts(request.packet())[1][1][:2] == b"\x00\x0e"


@pytest.mark.parametrize(
    ("payloads", "meaning", "number"),
    [
        ([notify(14)], Meaning.NO_PROPOSAL, 0),
        ([notify(7)], Meaning.ERROR, 7),
        ([notify(16388, b"status"), notify(14)], Meaning.NO_PROPOSAL, 0),
        ([notify(16388, b"status")], Meaning.GARBAGE, 0),
        ([notify(16390)], Meaning.GARBAGE, 0),
        ([(33, b"")], Meaning.GARBAGE, 0),
        ([], Meaning.GARBAGE, 0),
    ],
)
def test_notifications_are_told_apart(
    payloads: list[tuple[int, bytes]], meaning: Meaning, number: int
) -> None:
    """Errors are errors, status notifications are passed over, and half an answer is none."""
    request = Request(31)
    said = request.judge(answer(request, *payloads))
    assert (said.meaning, said.number) == (meaning, number)


def test_an_answer_to_another_request_is_garbage() -> None:
    """The initiator's index must be ours."""
    request, other = Request(31), Request(31)
    assert request.judge(answer(other, (33, b"x"), (34, b"x"), (40, b"x"))).meaning is Meaning.GARBAGE


@given(tail=st.binary(max_size=80), first=st.integers(0, 255))
def test_whatever_follows_a_right_header_does_not_break_us(tail: bytes, first: int) -> None:
    """Payloads of any bytes mean something or nothing; reading them never raises."""
    request = Request(31)
    header = (
        request.packet()[:8] + bytes(8) + struct.pack(">BBBBII", first, 0x20, 34, 0x20, 0, 28 + len(tail))
    )
    assert request.judge(header + tail).meaning in Meaning
    assert request.judge(tail).meaning is Meaning.GARBAGE


@pytest.mark.parametrize(
    ("proposal", "group"),
    [
        ("", 31),
        ("aes256-sha256-modp2048", 14),
        ("aes256gcm16-prfsha384-ecp384,aes128-sha1-modp1024", 20),
        ("aes128", 31),
    ],
)
def test_the_profile_says_with_which_group_to_begin(proposal: str, group: int) -> None:
    """The first group that a proposal names saves a round trip; without one it is the default."""
    assert first_group(proposal) == group
    assert set(ike_message._GROUP_NAMES.values()) == set(GROUPS)
