"""Enrolment tokens: what is written is read, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_proto.enrolment import Token, fingerprint, statement

VANTAGES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,9}", fullmatch=True)
TOKENS = st.builds(Token, VANTAGES, st.binary(min_size=32, max_size=32), st.binary(min_size=24, max_size=24))


@given(TOKENS, st.sampled_from(["", "\n", "  \r\n"]))
def test_what_is_written_is_read(token: Token, around: str) -> None:
    """A token survives being passed on, with what copying adds around it."""
    assert Token.read(around + token.write() + around) == token


@given(TOKENS, st.data())
def test_one_wrong_character_is_told(token: Token, data: st.DataObject) -> None:
    """Whichever character is changed, lost or doubled, it is no token any more, and is not shown."""
    text = token.write()
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda one: one != text[at]))
    for wrong in (
        text[:at] + other + text[at + 1 :],
        text[:at] + text[at + 1 :],
        text[:at] + text[at] + text[at:],
    ):
        if wrong.strip() == text:
            continue
        with pytest.raises(ValueError, match=r"^(is|names) ") as error:
            Token.read(wrong)
        assert text.split(".")[3] not in str(error.value)


@given(st.text())
def test_any_text_is_a_token_or_a_clear_refusal(text: str) -> None:
    """Nothing that a person can paste makes it fail in another way."""
    with pytest.raises(ValueError, match="is no enrolment token"):
        Token.read(text)


@given(st.lists(st.text(max_size=50), min_size=4, max_size=4))
def test_five_parts_are_not_enough(parts: list[str]) -> None:
    """What looks like one is judged to its last part."""
    with pytest.raises(ValueError, match=r"^(is|names) "):
        Token.read(".".join(["sonde1", *(part.replace(".", "") for part in parts)]))


def test_secrets_are_not_shown_and_never_the_same() -> None:
    """Two tokens of one vantage differ, so do their digests; a log of one shows no secret."""
    one, other = Token.new("ams1", bytes(32)), Token.new("ams1", bytes(32))
    assert one.secret != other.secret
    assert one.digest != other.digest
    assert repr(one.secret) not in repr(one)
    assert one.write().split(".")[3] not in repr(one)
    assert len(one.digest) == 32


def test_a_statement_is_of_both_its_parts() -> None:
    """A signature for one request or one certificate is none for another."""
    assert (
        len({statement(b"a", b"b"), statement(b"b", b"a"), statement(b"ab", b""), statement(b"", b"ab")}) == 4
    )


def test_a_fingerprint_is_as_openssl_writes_it() -> None:
    """Pairs of hex digits with colons."""
    assert fingerprint(bytes([0, 171, 255])) == "00:AB:FF"
