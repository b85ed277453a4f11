"""Quality bits in words."""

import pytest

from sonde_proto.quality import Quality, words


@pytest.mark.parametrize(
    ("quality", "expected"),
    [
        (0, ""),
        (Quality.INSECURE, "insecure"),
        (Quality.RAW_SOCKET | Quality.USER_STAMPS, "user_stamps,raw_socket"),
        (1 << 30 | Quality.NOT_READY, "not_ready,bit_30"),
    ],
)
def test_words_are_the_bits_names_lowest_first(quality: int, expected: str) -> None:
    """Every bit is named, also one that this version does not know."""
    assert words(quality) == expected
