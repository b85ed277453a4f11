"""An OpenVPN client's file into a profile: only options of a list, everything else is a mistake. **Pure.**"""

from collections.abc import Callable
from typing import Any, Literal

from attrs import define, field

from sonde_proto.profiles import openvpn_options as known
from sonde_proto.profiles import values
from sonde_proto.profiles.model import MOST_MISTAKES, Mistake, OpenVpn, Profile, ProfileError, Remote
from sonde_proto.profiles.openvpn_lines import Option, options

_SERVER_EKU = frozenset({"TLS Web Server Authentication", "serverAuth", "1.3.6.1.5.5.7.3.1"})
_DEFAULT_PORT = 1194
_MOST_REMOTES = 256
_MOST_DNS = 16


@define
class _Place:
    """What is known of one remote, or is the default of those that do not say it."""

    host: str = ""
    port: int = 0
    proto: tuple[str, int] | None = None


@define
class _Reading:
    """A file half read: what was kept of it so far."""

    kept: dict[str, Any] = field(factory=dict)
    default: _Place = field(factory=_Place)
    remotes: list[_Place] = field(factory=list)
    block: _Place | None = None

    @property
    def place(self) -> _Place:
        """What `port` and `proto` speak of at this line."""
        return self.default if self.block is None else self.block


def parse(name: str, text: str) -> Profile:
    """Give the profile that `text`, the file `name`, describes.

    Raises:
        ProfileError: it is none; with every mistake.
    """
    mistakes: list[Mistake] = []
    reading = _Reading()
    for option in options(text, mistakes):
        if len(mistakes) > MOST_MISTAKES:
            break
        try:
            _take(reading, option)
        except ValueError as error:
            mistakes.append(Mistake(option.line, f"{values.named(option.name)} {error}"))
    remotes = _remotes(reading)
    if not mistakes:
        mistakes = [Mistake(0, reason) for reason in _missing(reading.kept, remotes)]
    if mistakes:
        raise ProfileError(name, sorted(mistakes, key=lambda mistake: mistake.line))
    first = remotes[0]
    protocol: Literal["OpenVPN-UDP", "OpenVPN-TCP"] = "OpenVPN-UDP" if first.proto == "udp" else "OpenVPN-TCP"
    return Profile(protocol, first.host, first.port, OpenVpn(remotes=remotes, **reading.kept))


def _missing(kept: dict[str, Any], remotes: tuple[Remote, ...]) -> list[str]:
    reasons = []
    if not remotes:
        reasons.append("has no remote: where should it connect to?")
    if not kept.get("ca"):
        reasons.append("has no <ca>: nothing would prove who the server is")
    if bool(kept.get("cert")) != bool(kept.get("key")):
        reasons.append("has one of <cert> and <key> without the other")
    return reasons


def _remotes(reading: _Reading) -> tuple[Remote, ...]:
    """Every remote with its defaults, in order; those of another proto than the first are left out."""
    found = []
    for place in reading.remotes:
        proto, family = place.proto or reading.default.proto or ("udp", 0)
        found.append(Remote(place.host, place.port or reading.default.port or _DEFAULT_PORT, proto, family))
    return tuple(remote for remote in found if remote.proto == found[0].proto)


def _take(reading: _Reading, option: Option) -> None:
    """Keep what `option` says.

    Raises:
        ValueError: it can't be; the message goes on after the option's name.
    """
    name = option.name
    if name in known.HOOKS:
        raise ValueError("would run a program or load a library; Sonde does neither: remove the line")
    if name in known.FILES:
        raise ValueError("would open a file, a socket or another program; Sonde does not: remove the line")
    if name in known.ELSEWHERE:
        raise ValueError("would send the connection another way than straight to the server: remove the line")
    if name in known.UNSUPPORTED:
        raise ValueError(f"can't be used: {known.UNSUPPORTED[name]}")
    if name in known.TAGS:
        _inline(reading.kept, option)
    elif name in _READERS and option.block is None:
        _READERS[name](reading, option.words)
    elif name == "auth-user-pass":
        raise ValueError("stands in the file itself: move user name and password to the account's own files")
    elif name not in known.IGNORED:
        raise ValueError(
            "is no option that Sonde knows" if option.block is None else "is no block that Sonde knows"
        )


def _inline(kept: dict[str, Any], option: Option) -> None:
    name = option.name
    if option.block is None:
        if option.words[:1] != ("[inline]",):
            raise ValueError(
                f"names a file; only what stands in the profile itself is used: <{name}> … </{name}>"
            )
        if name == "tls-auth" and option.words[1:]:
            kept["key_direction"] = _one_of(option.words[1:], "0", "1")
        return
    key = "crl" if name == "crl-verify" else name.replace("-", "_")
    if kept.get(key):
        raise ValueError("stands there twice")
    kept[key] = values.pem(option.block, known.TAGS[name])


def _one_of(words: tuple[str, ...], *allowed: str) -> str:
    if len(words) != 1 or words[0] not in allowed:
        raise ValueError(f"must be {' or '.join(allowed)}")
    return words[0]


def _one(words: tuple[str, ...]) -> str:
    if len(words) != 1:
        raise ValueError("must be followed by one word")
    return words[0]


_Reader = Callable[[_Reading, tuple[str, ...]], None]


def _algorithms(key: str) -> _Reader:
    def read(reading: _Reading, words: tuple[str, ...]) -> None:
        reading.kept[key] = values.algorithms(_one(words))

    return read


def _number(key: str, low: int, high: int) -> _Reader:
    def read(reading: _Reading, words: tuple[str, ...]) -> None:
        reading.kept[key] = values.number(words[0] if words else "", low, high)

    return read


def _choice(key: str, *allowed: str) -> _Reader:
    def read(reading: _Reading, words: tuple[str, ...]) -> None:
        reading.kept[key] = _one_of(words, *allowed)

    return read


def _remote(reading: _Reading, words: tuple[str, ...]) -> None:
    if not 1 <= len(words) <= 3:  # noqa: PLR2004 -- host, port, proto
        raise ValueError("must be followed by a host, and perhaps a port and a protocol")
    place = reading.block if reading.block is not None else _Place()
    place.host = values.host(words[0])
    if len(words) > 1:
        place.port = values.port(words[1])
    if len(words) > 2:  # noqa: PLR2004 -- as above
        place.proto = _proto_named(words[2])
    if reading.block is None:
        _keep(reading, place)


def _keep(reading: _Reading, place: _Place) -> None:
    if len(reading.remotes) == _MOST_REMOTES:
        raise ValueError(f"must be at most {_MOST_REMOTES} of them")
    reading.remotes.append(place)


def _proto_named(word: str) -> tuple[str, int]:
    if word not in known.PROTOS:
        raise ValueError(f"must be udp or tcp, not {values.quoted(word)}")
    return known.PROTOS[word]


def _proto(reading: _Reading, words: tuple[str, ...]) -> None:
    reading.place.proto = _proto_named(_one(words))


def _port(reading: _Reading, words: tuple[str, ...]) -> None:
    reading.place.port = values.port(_one(words))


def _connection(reading: _Reading, _words: tuple[str, ...]) -> None:
    reading.block = _Place()


def _connection_end(reading: _Reading, _words: tuple[str, ...]) -> None:
    if reading.block is not None and reading.block.host:
        _keep(reading, reading.block)
    reading.block = None


def _device(_reading: _Reading, words: tuple[str, ...]) -> None:
    if not _one(words).startswith("tun"):
        raise ValueError('must be "tun": a bridge ("tap") is no tunnel that Sonde measures')


def _user_pass(reading: _Reading, words: tuple[str, ...]) -> None:
    if words and words[0] != "[inline]":
        raise ValueError(
            'names a file; Sonde takes the account from its own files: leave "auth-user-pass" alone'
        )
    reading.kept["wants_user_pass"] = True


def _name(reading: _Reading, words: tuple[str, ...]) -> None:
    if not 1 <= len(words) <= 2:  # noqa: PLR2004 -- the name and its type
        raise ValueError("must be followed by a name and perhaps its type")
    kind = _one_of(words[1:] or ("subject",), "subject", "name", "name-prefix")
    reading.kept["verify_x509_name"] = (values.words(words[0]), kind)


def _eku(reading: _Reading, words: tuple[str, ...]) -> None:
    if _one(words) not in _SERVER_EKU:
        raise ValueError('must be "TLS Web Server Authentication"')
    reading.kept["remote_cert_tls"] = "server"


def _compression(option: str) -> _Reader:
    def read(reading: _Reading, words: tuple[str, ...]) -> None:
        said = " ".join((option, *words))
        if said not in known.COMPRESSION:
            raise ValueError(f"is followed by a word that it does not have: {values.quoted(said)}")
        reading.kept["compression"] = said

    return read


def _dhcp(reading: _Reading, words: tuple[str, ...]) -> None:
    if len(words) == 2 and words[0] in {"DNS", "DNS6"}:  # noqa: PLR2004 -- DNS and its address
        got = (*reading.kept.get("dns", ()), values.address(words[1]))
        reading.kept["dns"] = values.few(got, _MOST_DNS)


_READERS: dict[str, _Reader] = {
    "remote": _remote,
    "proto": _proto,
    "port": _port,
    "rport": _port,
    "connection": _connection,
    "/connection": _connection_end,
    "dev": _device,
    "dev-type": _device,
    "auth-user-pass": _user_pass,
    "verify-x509-name": _name,
    "remote-cert-tls": _choice("remote_cert_tls", "server"),
    "remote-cert-eku": _eku,
    "key-direction": _choice("key_direction", "0", "1"),
    "cipher": _algorithms("cipher"),
    "data-ciphers": _algorithms("data_ciphers"),
    "ncp-ciphers": _algorithms("data_ciphers"),
    "data-ciphers-fallback": _algorithms("data_ciphers_fallback"),
    "auth": _algorithms("auth"),
    "tls-version-min": lambda reading, words: reading.kept.update(
        tls_version_min=_one_of(words[:1], "1.0", "1.1", "1.2", "1.3")
    ),
    "tls-cipher": _algorithms("tls_cipher"),
    "tls-ciphersuites": _algorithms("tls_ciphersuites"),
    "tls-groups": _algorithms("tls_groups"),
    "tls-cert-profile": _choice("tls_cert_profile", "legacy", "preferred", "suiteb", "insecure"),
    "comp-lzo": _compression("comp-lzo"),
    "compress": _compression("compress"),
    "dhcp-option": _dhcp,
    "tun-mtu": _number("tun_mtu", 576, 9000),
    "mssfix": _number("mssfix", 0, 9000),
    "fragment": _number("fragment", 68, 9000),
    "reneg-sec": _number("reneg_sec", 0, 1_000_000),
}
