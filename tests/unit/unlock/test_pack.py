"""A pack is taken whole, from whom it should be, or not at all."""

import base64
import json
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st
from support.unlock_language import SLUGS, document, golden, rule

from sonde_unlock import pack
from sonde_unlock.pack import PackError, build, open_pack, public_key, sign


def pem(key: Ed25519PrivateKey) -> bytes:
    """Return a private key as files hold it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


KEY = pem(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER = pem(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
RULES = [golden(slug) for slug in SLUGS]
FILE = sign(build(RULES, "2026.11.21", "2026-11-21T10:00:00Z"), KEY)
SMALL = sign(build([document()], "1", "2026-11-21"), KEY)


def test_what_is_packed_comes_out() -> None:
    """Rules are equal, their headers in order; version, time and key are told."""
    opened = open_pack(FILE, [public_key(OTHER), public_key(KEY)])
    assert dict(opened.rules) == {one.slug: one for one in RULES}
    assert (opened.version, opened.created) == ("2026.11.21", "2026-11-21T10:00:00Z")
    assert opened.signed_by == public_key(KEY)


def test_the_same_rules_make_the_same_pack() -> None:
    """In whatever order they are given, as rules or as documents."""
    again = build([one.document for one in reversed(RULES)], "2026.11.21", "2026-11-21T10:00:00Z")
    assert sign(again, KEY) == FILE


@given(at=st.integers(0, len(SMALL) - 1), to=st.integers(1, 255))
def test_no_byte_can_be_altered(at: int, to: int) -> None:
    """Whichever byte becomes whatever other, the pack is refused."""
    altered = bytearray(SMALL)
    altered[at] ^= to
    with pytest.raises(PackError):
        open_pack(bytes(altered), [public_key(KEY)])


def test_no_byte_can_be_altered_at_all() -> None:
    """Every single byte, by its lowest bit."""
    for at in range(len(SMALL)):
        altered = bytearray(SMALL)
        altered[at] ^= 1
        with pytest.raises(PackError):
            open_pack(bytes(altered), [public_key(KEY)])


@given(
    data=st.binary(max_size=200) | st.integers(0, len(SMALL)).map(lambda end: SMALL[:end]),
    more=st.binary(max_size=3),
)
def test_nothing_else_is_a_pack(data: bytes, more: bytes) -> None:
    """Random bytes, a part of a pack, a pack and more: refused, and nothing else is raised."""
    if data + more != SMALL:
        with pytest.raises(PackError):
            open_pack(data + more, [public_key(KEY)])


def test_another_key_is_refused_by_its_name() -> None:
    """A good signature of somebody unknown is none; without keys nothing is accepted."""
    with pytest.raises(PackError, match="not accepted"):
        open_pack(FILE, [public_key(OTHER)])
    with pytest.raises(PackError, match="not accepted"):
        open_pack(FILE, [])


def test_another_key_can_not_be_claimed() -> None:
    """A pack that names a trusted key, signed by another, was altered."""
    forged = sign(build(RULES, "1", "2026-11-21"), OTHER)
    ours, theirs = (public_key(key).encode() for key in (KEY, OTHER))
    with pytest.raises(PackError, match="altered"):
        open_pack(forged.replace(theirs, ours), [public_key(KEY)])


def test_an_unsigned_pack_is_refused() -> None:
    """What `build` gives is no file."""
    with pytest.raises(PackError, match="no signed pack"):
        open_pack(build(RULES, "1", "2026-11-21"), [public_key(KEY)])


def test_a_large_pack_is_neither_made_nor_opened() -> None:
    """The bound holds on both sides."""
    with pytest.raises(PackError, match="larger"):
        sign(b"x" * pack.MAX_BYTES, KEY)
    with pytest.raises(PackError, match="larger"):
        open_pack(b"x" * (pack.MAX_BYTES + 1), [public_key(KEY)])


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b"no json",
        b"[]",
        b'{"schema":"unlock-pack/2","version":"1","created":"1","rules":[]}',
        b'{"schema":"unlock-pack/1","version":1,"created":"1","rules":[]}',
        b'{"schema":"unlock-pack/1","version":"1","created":"1","rules":[{}]}',
        b'{"schema":"unlock-pack/1","version":"1","created":"1","rules":["x"]}',
        b'{"schema":"unlock-pack/1","version":"1","created":"1","rules":{}}',
        b'{"schema":"unlock-pack/1","version":"1","created":"1","rules":[NaN]}',
        b'{"schema":"unlock-pack/1","version":"1","created":"1","rules":[],"more":1}',
    ],
)
def test_a_signed_pack_that_is_none_is_refused(content: bytes) -> None:
    """A signature makes no rule of what is none; one line says so."""
    with pytest.raises(PackError) as caught:
        open_pack(sign(content, KEY), [public_key(KEY)])
    assert "\n" not in str(caught.value)


def test_only_rules_that_can_be_believed_are_packed() -> None:
    """A rule with mistakes, or that lint objects to, or that is there twice, is named."""
    with pytest.raises(PackError, match="'example'"):
        build([document(confidence="certain")], "1", "2026-11-21")
    with pytest.raises(PackError, match="rests on no marker"):
        build(
            [document(verdicts=[{"when": [{"any_of": "page", "status": 200}], "verdict": "available"}])],
            "1",
            "1",
        )
    with pytest.raises(PackError, match="twice"):
        build([rule(), rule()], "1", "2026-11-21")
    with pytest.raises(PackError, match="1 to"):
        build([], "1", "2026-11-21")
    with pytest.raises(PackError, match="version"):
        build([rule()], "a b", "2026-11-21")


def test_only_ed25519_keys_sign() -> None:
    """Another kind of key, and what is no key, are refused."""
    curve = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for wrong in (curve, b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        with pytest.raises(PackError, match="signing key"):
            sign(b"x", wrong)


def test_agents_need_no_yaml() -> None:
    """Opening packs, judging and replaying import no YAML: only authors have it."""
    code = "import sys; from sonde_unlock import cassette, engine, pack; sys.exit('yaml' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_file_is_plain_json() -> None:
    """Other programs can look at it: base64 of a document with rules as they were written."""
    envelope = json.loads(FILE)
    content = json.loads(base64.b64decode(envelope["pack"]))
    assert [one["slug"] for one in content["rules"]] == list(SLUGS)
