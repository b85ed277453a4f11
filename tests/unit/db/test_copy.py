"""Binary COPY, byte by byte; that PostgreSQL reads it back the same is in tests/integration."""

import struct

import numpy as np

from sonde_collector.db.copy import HEADER, TRAILER, Cells, Texts, Type, encode


def test_the_bytes_are_those_of_the_manual() -> None:
    """Two rows: count, then each value behind its length, in network order; NULL is length -1."""
    pieces = encode(
        [
            Cells(Type.INT, np.array([1, -2], np.int32)),
            Cells(Type.SMALLINT, np.array([3, 0], np.int16), np.array([False, True])),
            Cells(Type.TEXT, np.array([0, -1]), texts=Texts(["hé"])),
            Cells(Type.REAL, None),
            Cells(Type.TIMESTAMPTZ, np.array([946_684_800_000_001, 0])),
        ],
        2,
    )
    rows = struct.pack(">hiiihi3siiq", 5, 4, 1, 2, 3, 3, "hé".encode(), -1, 8, 1)
    rows += struct.pack(">hiiiiiiq", 5, 4, -2, -1, -1, -1, 8, -946_684_800_000_000)
    assert b"".join(pieces) == HEADER + rows + TRAILER


def test_no_rows_are_an_empty_stream() -> None:
    """Nothing to write is header and trailer."""
    assert b"".join(encode([Cells(Type.INT, np.array([], np.int32))], 0)) == HEADER + TRAILER
