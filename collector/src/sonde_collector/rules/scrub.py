"""What a recording must not keep: cookies, tokens, addresses, names of people. Same value, same stand-in."""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping

from sonde_unlock.document import Problem
from sonde_unlock.pattern import Pattern

# Keys of JSON, and of scripts in pages, whose values say who or where somebody is. Whole words of the key
# count: "deviceId" and "device_id" hold "device", "ip" is not found in "description".
_PERSONAL = re.compile(
    "account|address|asn|auth|authorization|city|cookie|credential|csrf|customer|device|email|fingerprint|"
    "ip|isp|jwt|lat|latitude|lon|long|longitude|member|nonce|org|organization|password|postal|postcode|"
    "profile|refresh|secret|session|signature|subdivision|subscriber|token|user|username|visitor|xsrf|"
    "zip|zipcode"
)
_PAIR = re.compile(
    r"""(?P<head>(?P<q>["'])(?P<key>[A-Za-z][A-Za-z0-9_.-]{0,60})(?P=q)\s*:\s*)"""
    r"""(?:"(?P<text>(?:[^"\\]|\\.){1,20000})"|(?P<number>-?[0-9]+(?:\.[0-9]+)?)(?=\s*[,}\]]))"""
)
_QUERY = re.compile(r"(?P<head>[?&;](?P<key>[A-Za-z][A-Za-z0-9_.-]{0,60})=)(?P<text>[^&;#\s\"'<>]{1,4000})")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_SHORT = 3  # a country, a flag or a count is no secret
_EVERYWHERE = 8  # a value so long is replaced wherever it stands, not only where it was found

_EMAIL = re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+")
_JWT = re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{2,}(?:\.[A-Za-z0-9_-]*)?")
_UUID = re.compile(r"\b[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\b")
_IPV4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w.]*[0-9])")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_HEX = re.compile(r"(?<![\w-])[0-9A-Fa-f]{24,}(?![\w-])")
_OPAQUE = re.compile(r"(?<![\w+=-])[\w+=-]{24,}(?:\.[\w+=-]{8,})*")
_PIECES = re.compile(r"[-_.=+]")
_LONG_OPAQUE = 32
_MINTED = re.compile(r"<<[a-z][a-z0-9_]*>>")
_DOCUMENTATION = tuple(
    map(ipaddress.ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"))
)


class Scrubber:
    """Replaces what may identify somebody by stand-ins, the same value always by the same one.

    Args:
        keep: texts that stay though they look like it: what the rule looks for.

    Attributes:
        counts: kind of what was replaced -> how many different values.
    """

    def __init__(self, keep: Collection[str] = ()) -> None:
        self._keep = frozenset(keep)
        self._known: dict[str, str] = {}
        self._made: set[str] = set()
        self.counts: Counter[str] = Counter()

    def stand_in(self, value: str, kind: str) -> str:
        """Give the stand-in of one whole value: a cookie, a captured token."""
        if value in self._keep or value in self._made:
            return value
        found = self._known.get(value)
        if found is None:
            self.counts[kind] += 1
            found = self._known[value] = _shape(kind, self.counts[kind])
            self._made.add(found)
        return found

    def known(self) -> Mapping[str, str]:
        """Give every value that was replaced, and its stand-in."""
        return dict(self._known)

    def text(self, text: str) -> str:
        """Give `text` without what may identify somebody."""
        for value in sorted(self._known, key=len, reverse=True):
            if len(value) >= _EVERYWHERE:
                text = text.replace(value, self._known[value])
        text = _PAIR.sub(self._pair, text)
        text = _QUERY.sub(self._query, text)
        for pattern, kind in ((_EMAIL, "email"), (_JWT, "token"), (_UUID, "uuid")):
            text = pattern.sub(self._of(kind), text)
        text = _IPV4.sub(self._address, text)
        text = _IPV6.sub(self._address, text)
        text = _HEX.sub(self._of("hex"), text)
        return _OPAQUE.sub(self._opaque, text)

    def _of(self, kind: str) -> "Callable[[re.Match[str]], str]":
        return lambda match: self.stand_in(match[0], kind)

    def _pair(self, match: re.Match[str]) -> str:
        text, number = match["text"], match["number"]
        if not _is_personal(match["key"]) or len(text or number) <= _SHORT or self._stays(text or ""):
            return match[0]
        if number is not None:  # coordinates, a network's or an account's number
            self.counts["number"] += 1
            return match["head"] + "0"
        return f'{match["head"]}"{self.stand_in(text, "value")}"'

    def _query(self, match: re.Match[str]) -> str:
        text = match["text"]
        if not _is_personal(match["key"]) or len(text) <= _SHORT or self._stays(text):
            return match[0]
        return match["head"] + self.stand_in(text, "value")

    def _stays(self, text: str) -> bool:
        """Whether a value is the rule's marker, or a token that the cassette makes anew each time."""
        return text in self._keep or _MINTED.search(text) is not None

    def _address(self, match: re.Match[str]) -> str:
        try:
            address = ipaddress.ip_address(match[0])
        except ValueError:
            return match[0]
        if any(address in net for net in _DOCUMENTATION) or address.is_unspecified:
            return match[0]
        return self.stand_in(match[0], f"ipv{address.version}")

    def _opaque(self, match: re.Match[str]) -> str:
        value = match[0]
        mixed = any(
            any(map(str.isdigit, piece)) and any(map(str.isalpha, piece)) for piece in _PIECES.split(value)
        )
        cases = any(map(str.isupper, value)) and any(map(str.islower, value))
        # Without a piece that mixes letters and digits it is words and numbers: a path, a class of a style.
        return self.stand_in(value, "token") if mixed and (cases or len(value) >= _LONG_OPAQUE) else value


def _is_personal(key: str) -> bool:
    return any(_PERSONAL.fullmatch(word.lower()) for word in _WORD.findall(key))


def _shape(kind: str, number: int) -> str:
    """Give a stand-in that looks like its kind and could be nobody's. **Pure**."""
    if kind == "ipv4":
        return f"192.0.2.{number % 254 + 1}"
    if kind == "ipv6":
        return f"2001:db8::{number:x}"
    if kind == "uuid":
        return f"00000000-0000-4000-8000-{number:012x}"
    if kind == "hex":
        return f"{number:032x}"
    if kind == "email":
        return f"person{number}@example.com"
    return f"fake-{kind}-{number}"


def suspicions(text: str, looked_for: Collection[Pattern] = ()) -> list[Problem]:
    """Give the lines of a cassette that hold what may be somebody's. **Pure**.

    Args:
        text: of the file.
        looked_for: what the rule looks for: that is the platform's.
    """
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        what = [("a mail address", match[0]) for match in _EMAIL.finditer(line) if not _is_example(match[0])]
        what += [("a signed token", match[0]) for match in _JWT.finditer(line)]
        for match in (*_IPV4.finditer(line), *_IPV6.finditer(line)):
            if _is_somebodys(match[0]):
                what.append(("an address of the Internet", match[0]))
        found += [
            Problem(number, f"holds {kind} ({value:.40}): a cassette holds nobody's; put a stand-in there")
            for kind, value in what
            if not any(pattern.search(value.encode()) for pattern in looked_for)
        ]
    return found


def _is_example(mail: str) -> bool:
    return mail.rpartition("@")[2].lower() in ("example.com", "example.org", "example.net")


def _is_somebodys(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global and not text.endswith(".0.0.0")  # Chrome/120.0.0.0
    except ValueError:
        return False
