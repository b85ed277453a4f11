"""Providers' files: golden pairs of a file and what is read out of it, and what no file can do."""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from attrs import asdict, evolve
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from sonde_proto import profiles
from sonde_proto.profiles import OpenVpn, Profile, ProfileError, WireGuard, openvpn, openvpn_options
from sonde_proto.profiles.x25519 import public_key

GOLDEN = Path(__file__).parents[2] / "golden" / "profiles"
CASES = sorted(path for path in GOLDEN.iterdir() if path.suffix in profiles.SUFFIXES)
ALLOWED = openvpn_options.IGNORED | openvpn._READERS.keys()
PEM_LINE = re.compile(r"[A-Za-z0-9+/=]+|-----(BEGIN|END) [A-Za-z0-9 -]+-----")
REFUSED = sorted(openvpn_options.HOOKS | openvpn_options.FILES | openvpn_options.ELSEWHERE)


def golden(name: str) -> bytes:
    """The bytes of a golden file."""
    return (GOLDEN / name).read_bytes()


def plain(value: Any) -> str:
    """A key for JSON."""
    return value.hex() if isinstance(value, bytes) else str(value)


def texts(value: Any) -> list[str]:
    """Every string in a profile, however deep."""
    if isinstance(value, dict):
        return [text for part in value.values() for text in texts(part)]
    if isinstance(value, list | tuple):
        return [text for part in value for text in texts(part)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_file_gives_exactly_what_stands_beside_it(case: Path) -> None:
    """A good file gives its fields and nothing else; a bad one gives a line for each mistake."""
    told = case.with_name(f"{case.name}.txt")
    if told.exists():
        with pytest.raises(ProfileError) as caught:
            profiles.parse(case.name, case.read_bytes())
        assert str(caught.value) == told.read_text().rstrip("\n")
        return
    got = asdict(
        profiles.parse(case.name, case.read_bytes()), filter=lambda _, value: value not in (None, "", ())
    )
    assert json.loads(json.dumps(got, default=plain)) == json.loads(
        case.with_name(f"{case.name}.json").read_text()
    )


@given(data=st.binary(max_size=400), suffix=st.sampled_from(profiles.SUFFIXES))
def test_bytes_of_any_kind_are_a_profile_or_told_as_none(data: bytes, suffix: str) -> None:
    """Reading ends with a profile or a `ProfileError`, whatever the bytes."""
    read(f"x{suffix}", data)


@given(data=st.data())
def test_a_file_changed_anywhere_is_a_profile_or_told_as_none(data: st.DataObject) -> None:
    """The same for good files of which pieces were cut, doubled or replaced."""
    case = data.draw(st.sampled_from(CASES))
    lines = case.read_bytes().split(b"\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        other = data.draw(
            st.sampled_from([*lines, b"", b"<", b"<ca>", b"</ca>", b'"', b"=", b"[", b"{", b"\\"])
        )
        lines[at : at + data.draw(st.integers(0, 1))] = [other]
    read(case.name, b"\n".join(lines))


def read(name: str, data: bytes) -> None:
    """Parses, and holds whatever came out against what must be true of all."""
    error: ProfileError | None = None
    try:
        profile = profiles.parse(name, data)
    except ProfileError as raised:
        error = raised
    if error is not None:
        assert error.mistakes
        assert all(line.startswith(name) for line in str(error).split("\n"))
        return
    assert profile.protocol in profiles.PROTOCOLS
    assert 1 <= profile.port <= 65_535
    for text in texts(asdict(profile)):
        first, *others = text.removesuffix("\n").split("\n")
        assert first.isprintable()
        assert all(PEM_LINE.fullmatch(line) for line in others), "only PEM has lines"


@given(
    word=st.sampled_from(REFUSED)
    | st.from_regex(r"[a-z][a-z0-9-]{2,20}", fullmatch=True).filter(lambda word: word not in ALLOWED),
    form=st.sampled_from(("{}", "--{}", '"{}"', "'{}'", "  {}\t", '"{}" ""')),
    rest=st.text(st.characters(codec="ascii", exclude_characters="\n\0"), max_size=30),
    data=st.data(),
)
def test_an_option_outside_the_list_is_never_kept(
    word: str, form: str, rest: str, data: st.DataObject
) -> None:
    """Wherever a line with a refused or unknown option is put into a good file, that line is told."""
    lines = golden("udp.ovpn").decode().split("\n")
    at = data.draw(st.integers(0, lines.index("<ca>")))
    changed = "\n".join([*lines[:at], f"{form.format(word)} {rest}", *lines[at:]])
    with pytest.raises(ProfileError) as caught:
        profiles.parse("x.ovpn", changed.encode())
    assert [mistake.line for mistake in caught.value.mistakes] == [at + 1]


def test_the_lists_of_options_do_not_overlap() -> None:
    """An option is refused, ignored or kept, and only one of them."""
    lists = (
        openvpn_options.HOOKS,
        openvpn_options.FILES,
        openvpn_options.ELSEWHERE,
        openvpn_options.IGNORED,
        openvpn_options.UNSUPPORTED.keys(),
        openvpn_options.TAGS.keys(),
        openvpn._READERS.keys(),
    )
    every = [word for words in lists for word in words]
    assert len(every) == len(set(every)), sorted(word for word in set(every) if every.count(word) > 1)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.conf", b"[Interface]\n" * 90_000),
        ("x.conf", b"[Interface]\n" + b"Address = 10.0.0.1\n" * 50_000),
        ("x.conf", b"[Interface]\nAddress = " + b"10.0.0.1," * 110_000),
        ("x.ovpn", b"remote 192.0.2.1\n" * 60_000),
        ("x.ovpn", b"dhcp-option DNS 10.0.0.1\n" * 40_000),
        ("x.ovpn", b"x\n" * 500_000),
        ("x.ovpn", b"<ca>\n" * 200_000),
        ("x.ovpn", b"<ca>\n-----BEGIN CERTIFICATE-----\n" + b" " * 900_000),
        ("x.ovpn", b"<ca>\n" + b"-----BEGIN CERTIFICATE-----\n" * 30_000),
        ("x.ovpn", b'cipher "' + b"\\" * 1_000_000),
        ("x.sswan", b"[" * 1_000_000),
        ("x.sswan", b'{"mtu": ' + b"9" * 1_000_000 + b"}"),
        ("x.sswan", b'{"remote": {"addr": "' + b"a." * 500_000 + b'"}}'),
        ("x.sswan", b"{" + b",".join(b'"k%x": 1' % number for number in range(80_000)) + b"}"),
        ("x.sswan", b'{"remote": {"addr": "a.b"}, "dns-servers": "' + b"192.0.2.1 " * 100_000 + b'"}'),
        ("x.conf", b"a" * (profiles.LARGEST + 1)),
        ("../../etc/passwd", b"root:x:0:0"),
        ("x.conf\n/etc/passwd:1: fine", b""),
    ],
    ids=lambda value: value[:24].decode() if isinstance(value, bytes) else "",
)
def test_a_file_of_a_megabyte_is_told_in_a_few_lines(name: str, data: bytes) -> None:
    """Whatever stands in a huge or strange file, it is refused with at most a screen of short lines."""
    with pytest.raises(ProfileError) as caught:
        profiles.parse(name, data)
    lines = str(caught.value).split("\n")
    assert 1 <= len(lines) <= 21
    assert max(map(len, lines)) < 250


def test_no_key_is_ever_shown() -> None:
    """Neither a profile's repr nor a mistake in a key's line shows anything of a key."""
    key = base64.b64encode(hashlib.sha256(b"secret").digest()).decode()
    good = golden("both-families.conf").decode()
    profile = profiles.parse("x.conf", good.encode())
    assert "01010101" not in repr(profile)
    assert "\\x01\\x01" not in repr(profile)
    assert "AAAA" not in repr(profiles.parse("x.ovpn", golden("udp.ovpn")))
    for wrong in (f"PrivateKey = {key}{key}", f"PrivateKey: {key}", key, f"{key} = x", f"PrivateKey {key}"):
        with pytest.raises(ProfileError) as caught:
            profiles.parse("x.conf", f"[Interface]\n{wrong}\n".encode())
        assert key[:16] not in str(caught.value)
    with pytest.raises(ProfileError) as caught:
        profiles.parse("x.ovpn", golden("udp.ovpn").replace(b"<tls-auth>", key.encode()))
    assert key[:16] not in str(caught.value)


@given(private=st.binary(min_size=32, max_size=32))
def test_the_public_half_of_a_key_is_that_of_another_implementation(private: bytes) -> None:
    """X25519 written here gives what OpenSSL gives."""
    assert public_key(private) == X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def test_a_key_is_named_by_its_public_half() -> None:
    """Two profiles of one key have one name, another key another, and no key none."""
    first = profiles.parse("a.conf", golden("plain.conf"))
    second = profiles.parse("b.conf", golden("both-families.conf"))
    assert profiles.key_id(first) == profiles.key_id(second)
    assert profiles.key_id(first) == hashlib.sha256(public_key(b"\x01" * 32)).hexdigest()[:16]
    assert isinstance(first.settings, WireGuard)
    other = evolve(first, settings=evolve(first.settings, private_key=b"\x02" * 32))
    assert profiles.key_id(other) != profiles.key_id(first)
    assert profiles.key_id(profiles.parse("c.conf", golden("named-without-key.conf"))) == ""
    assert profiles.key_id(profiles.parse("d.ovpn", golden("udp.ovpn"))) == ""


def placed(name: str, **place: Any) -> Profile:
    """A golden file as a template for another place."""
    wanted = {"host": "192.0.2.99", "port": 0, "public_key": "", "server_name": ""} | place
    return profiles.place(profiles.parse(name, golden(name)), **wanted)


def test_a_template_serves_other_servers() -> None:
    """Host, port, key and name of a place replace the template's; what it does not name stays."""
    key = base64.b64encode(b"\x09" * 32).decode()
    away = placed("plain.conf", host="SE2.vpn.example", port=443, public_key=key)
    assert (away.host, away.port) == ("se2.vpn.example", 443)
    assert isinstance(away.settings, WireGuard)
    assert away.settings.public_key == b"\x09" * 32
    named = placed("udp.ovpn", server_name="se2.vpn.example")
    assert isinstance(named.settings, OpenVpn)
    assert [(remote.host, remote.port) for remote in named.settings.remotes] == [("192.0.2.99", 1194)]
    assert named.settings.verify_x509_name == ("se2.vpn.example", "name")
    assert placed("eap.sswan").settings.remote_id == "192.0.2.99"


@pytest.mark.parametrize(
    "place",
    [
        {"host": "a b"},
        {"host": ""},
        {"port": 70_000},
        {"public_key": "short"},
        {"server_name": 'x" up /bin/sh'},
        {"server_name": "x\nup /bin/sh"},
    ],
)
def test_a_place_is_checked_like_a_file(place: dict[str, Any]) -> None:
    """A place that could not stand in a file is refused."""
    name = "udp.ovpn" if "server_name" in place else "plain.conf"
    with pytest.raises(ProfileError):
        placed(name, **place)
