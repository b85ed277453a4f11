"""WireGuard's handshake messages against a responder written from the paper alone."""

import hashlib
import hmac
import os
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from sonde_agent.net.handshake.wireguard_noise import Initiation, Keys, Meaning
from sonde_agent.tunnel.backends.base import Secrets

CLIENT, SERVER = (
    X25519PrivateKey.from_private_bytes(b"\x11" * 32),
    X25519PrivateKey.from_private_bytes(b"\x22" * 32),
)
KEYS = Keys(b"\x11" * 32, SERVER.public_key().public_bytes_raw(), None)
PSK = b"\x33" * 32
AT_NS = 1_800_000_000_123_456_789


def initiation(keys: Keys = KEYS) -> Initiation:
    """One with nothing random in it."""
    return Initiation(keys, ephemeral=b"\x44" * 32, index=b"\x01\x02\x03\x04", unix_ns=AT_NS)


class Responder:
    """The other side, step by step as section 5.4 of the paper writes it."""

    def __init__(self, preshared: bytes = bytes(32)) -> None:
        self.preshared = preshared
        self.client = b""
        self.timestamp = b""

    def mix_hash(self, data: bytes) -> None:
        """H := HASH(H || data)."""
        self.h = hashlib.blake2s(self.h + data).digest()

    def mix_key(self, data: bytes, count: int) -> list[bytes]:
        """(C, ...) := KDFn(C, data)."""
        prk = hmac.new(self.c, data, hashlib.blake2s).digest()
        out = [hmac.new(prk, b"\x01", hashlib.blake2s).digest()]
        while len(out) < count:
            out.append(hmac.new(prk, out[-1] + bytes([len(out) + 1]), hashlib.blake2s).digest())
        self.c = out[0]
        return out

    def reply(self, packet: bytes) -> bytes:
        """The response to an initiation; raises where it proves nothing."""
        assert len(packet) == 148
        kind, sender, ephemeral, static, stamp, mac1, mac2 = struct.unpack("<I4s32s48s28s16s16s", packet)
        server_public = SERVER.public_key().public_bytes_raw()
        assert (kind, mac2) == (1, bytes(16))
        mac_key = hashlib.blake2s(b"mac1----" + server_public).digest()
        assert mac1 == hashlib.blake2s(packet[:116], key=mac_key, digest_size=16).digest()
        self.c = hashlib.blake2s(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s").digest()
        self.h = hashlib.blake2s(self.c + b"WireGuard v1 zx2c4 Jason@zx2c4.com").digest()
        self.mix_hash(server_public)
        self.mix_key(ephemeral, 1)
        self.mix_hash(ephemeral)
        theirs = X25519PublicKey.from_public_bytes(ephemeral)
        self.client = self.open(self.mix_key(SERVER.exchange(theirs), 2)[1], static)
        client = X25519PublicKey.from_public_bytes(self.client)
        self.timestamp = self.open(self.mix_key(SERVER.exchange(client), 2)[1], stamp)
        ours = X25519PrivateKey.from_private_bytes(b"\x55" * 32)
        public = ours.public_key().public_bytes_raw()
        self.mix_key(public, 1)
        self.mix_hash(public)
        self.mix_key(ours.exchange(theirs), 1)
        self.mix_key(ours.exchange(client), 1)
        _, tau, key = self.mix_key(self.preshared, 3)
        self.mix_hash(tau)
        empty = ChaCha20Poly1305(key).encrypt(bytes(12), b"", self.h)
        return struct.pack("<I4s4s32s16s", 2, b"ours", sender, public, empty) + bytes(32)

    def open(self, key: bytes, sealed: bytes) -> bytes:
        """AEAD-1, and the hash that goes with it."""
        plain = ChaCha20Poly1305(key).decrypt(bytes(12), sealed, self.h)
        self.mix_hash(sealed)
        return plain


def test_an_initiation_proves_our_key_and_the_time() -> None:
    """A responder reads our public key and the TAI64N time out of it."""
    responder = Responder()
    responder.reply(initiation().packet)
    assert responder.client == CLIENT.public_key().public_bytes_raw()
    assert responder.timestamp == struct.pack(">QI", 2**62 + 10 + AT_NS // 10**9, AT_NS % 10**9)


@pytest.mark.parametrize("preshared", [None, PSK])
def test_a_response_with_the_right_keys_is_authentic(preshared: bytes | None) -> None:
    """The server's response is believed, with a preshared key and without."""
    made = initiation(Keys(KEYS.private, KEYS.server_public, preshared))
    assert made.judge(Responder(preshared or bytes(32)).reply(made.packet)) is Meaning.AUTHENTIC


def test_a_response_with_another_preshared_key_is_not_believed() -> None:
    """It is told from garbage: it answers this very initiation."""
    made = initiation()
    assert made.judge(Responder(PSK).reply(made.packet)) is Meaning.OTHER_KEYS


def test_a_cookie_reply_is_known_by_our_index() -> None:
    """One to another initiation is garbage."""
    made = initiation()
    assert made.judge(b"\x03\0\0\0" + b"\x01\x02\x03\x04" + os.urandom(56)) is Meaning.COOKIE
    assert made.judge(b"\x03\0\0\0" + b"\x01\x02\x03\x05" + os.urandom(56)) is Meaning.GARBAGE


@given(datagram=st.binary(max_size=200) | st.binary(min_size=92, max_size=92))
def test_nothing_else_is_ever_authentic(datagram: bytes) -> None:
    """No other bytes are believed, nor do they raise."""
    assert initiation().judge(datagram) is Meaning.GARBAGE


@given(at=st.integers(0, 59), flip=st.integers(1, 255))
def test_a_response_changed_anywhere_is_not_believed(at: int, flip: int) -> None:
    """One byte of what is authenticated changed, and it proves nothing."""
    made = initiation()
    changed = bytearray(Responder().reply(made.packet))
    changed[at] ^= flip
    meant = made.judge(bytes(changed))
    assert meant is not Meaning.AUTHENTIC or at in range(4, 8), "the sender's own index is not authenticated"


def test_what_proves_who_we_are_is_in_no_repr() -> None:
    """Neither keys nor an account's words reach a log by way of an object's repr."""
    shown = repr(Keys(b"hush" * 8, bytes(32), b"hush" * 8)) + repr(Secrets("hush", "hush"))
    assert "hush" not in shown
