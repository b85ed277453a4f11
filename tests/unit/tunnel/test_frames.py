"""Frames: what is cut anywhere comes out whole, and what claims too much is refused."""

import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.tunnel import frames

CONTENTS = st.lists(st.binary(max_size=300), max_size=8)


@given(CONTENTS, st.lists(st.integers(1, 50), min_size=1))
def test_frames_survive_any_cutting_of_the_stream(contents: list[bytes], sizes: list[int]) -> None:
    """However a stream of frames is cut, the contents come out whole and in order."""
    stream, splitter = b"".join(map(frames.encode, contents)), frames.Splitter()
    out, at, turn = [], 0, 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        out += splitter.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert out == contents
    assert not splitter.partial


def test_a_frame_that_has_begun_is_partial() -> None:
    """A stream that ends in the middle of a frame is told from one that ends between two."""
    splitter = frames.Splitter()
    assert splitter.feed(frames.encode(b"abc")[:-1]) == []
    assert splitter.partial


@pytest.mark.parametrize("length", [b"\x00\x10\x00\x01", b"\xff\xff\xff\xff"])
def test_a_length_beyond_the_bound_is_refused_before_anything_is_kept(length: bytes) -> None:
    """Whoever reads refuses a frame of more than 1 MiB by its length alone."""
    with pytest.raises(frames.BadFrame, match="more than"):
        frames.Splitter().feed(length)
    read, write = os.pipe()
    os.write(write, length)
    os.close(write)
    with pytest.raises(frames.BadFrame, match="more than"):
        frames.receive(read)
    os.close(read)


def test_a_message_beyond_the_bound_is_not_sent() -> None:
    """Whoever writes refuses it too."""
    with pytest.raises(frames.BadFrame, match="longer than a frame"):
        frames.encode(bytes(frames.MOST_BYTES + 1))


def test_a_pipe_carries_frames_and_their_end() -> None:
    """Frames through a blocking descriptor come back, then None; one that is cut short is an error."""
    read, write = os.pipe()
    frames.send(write, b"one")
    frames.send(write, b"")
    os.write(write, b"\0\0\0\x09half")
    os.close(write)
    assert frames.receive(read) == b"one"
    assert frames.receive(read) == b""
    with pytest.raises(frames.BadFrame, match="middle"):
        frames.receive(read)
    assert frames.receive(read) is None
    os.close(read)


async def test_an_asyncio_stream_carries_frames_and_their_end() -> None:
    """Frames out of a stream reader come one by one; an end anywhere is None."""
    reader = asyncio.StreamReader()
    reader.feed_data(frames.encode(b"one") + frames.encode(b"two")[:-1])
    reader.feed_eof()
    assert await frames.read(reader) == b"one"
    assert await frames.read(reader) is None
