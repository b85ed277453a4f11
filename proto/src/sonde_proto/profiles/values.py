"""Values that profiles of all kinds hold, each checked against its own alphabet. **Pure**, all of it.

Every function gives the value to keep, or raises `ValueError` with what it must be: half a sentence that
starts with "must" and holds no secret.
"""

import base64
import binascii
import ipaddress
import re

_NAME = re.compile(
    r"(?=.{1,253}\.?$)(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?", re.ASCII
)
_ALGORITHMS = re.compile(r"[A-Za-z0-9@!+=:._/-]{1,512}", re.ASCII)
_SAFE_WORD = re.compile(r"[A-Za-z0-9_.</>\[\]-]{1,32}", re.ASCII)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{1,200}={0,2}", re.ASCII)
KEY_BYTES = 32
"""Of every key in WireGuard."""


def host(text: str) -> str:
    """Give a host name or an address in its shortest form; an IPv6 address stands without brackets."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare or bare.replace(".", "").isdigit():
        return address(bare)
    if not _NAME.fullmatch(bare):
        raise ValueError(f"must be a host name or an address, not {quoted(text)}")
    return bare.rstrip(".").lower()


def address(text: str) -> str:
    """Give an IPv4 or IPv6 address in its shortest form."""
    try:
        if "%" in text:
            raise ValueError(text)  # noqa: TRY301 -- a zone is of this host, never of a provider
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"must be an IPv4 or IPv6 address, not {quoted(text)}") from None


def network(text: str) -> str:
    """Give an IPv4 or IPv6 network with its prefix length; host bits are cleared, as `wg` does."""
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f'must be a network such as "0.0.0.0/0", not {quoted(text)}') from None


def interface(text: str) -> str:
    """Give an address of ours with its prefix length; without one, it is the address alone."""
    try:
        if "%" in text:
            raise ValueError(text)  # noqa: TRY301 -- as above
        return str(ipaddress.ip_interface(text))
    except ValueError:
        raise ValueError(f'must be an address such as "10.2.0.2/32", not {quoted(text)}') from None


def number(text: str, low: int, high: int) -> int:
    """Give a whole number, low..high."""
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not low <= int(text) <= high:  # noqa: PLR2004
        raise ValueError(f"must be a number from {low} to {high}, not {quoted(text)}")
    return int(text)


def port(text: str) -> int:
    """Give a port, 1..65535."""
    return number(text, 1, 65_535)


def wireguard_key(text: str) -> bytes:
    """Give the 32 bytes of a key written in base64. The message never shows what was there."""
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError("must be a WireGuard key: 44 characters of base64")
    return key


def algorithms(text: str) -> str:
    """Give the name of an algorithm or a list of them, as OpenVPN, OpenSSL and strongSwan write them."""
    if not _ALGORITHMS.fullmatch(text):
        raise ValueError(f"must be the name of an algorithm or a list of them, not {quoted(text)}")
    return text


def words(text: str) -> str:
    """Give a name for people or certificates: printable, at most 256 characters, no quote, no backslash."""
    if not text.isprintable() or not 0 < len(text) <= 256 or set(text) & set("\"'\\"):  # noqa: PLR2004
        raise ValueError(f"must be a printable name without quotes, not {quoted(text)}")
    return text


def pem(text: str, labels: tuple[str, ...]) -> str:
    """Give the PEM objects in `text`, one after the other, and nothing of the prose around them.

    Args:
        text: whatever stands between an option's tags.
        labels: which kinds of object may be there.
    """
    kept: list[str] = []
    label = ""
    for raw in text.split("\n"):
        line = raw.strip()
        if line.startswith("-----BEGIN ") and line.endswith("-----"):
            label = line[11:-5]
            if label not in labels:
                raise ValueError(f"must hold {' or '.join(labels)}, not {quoted(label)}")
            kept.append(line)
        elif label and line == f"-----END {label}-----":
            kept.append(line)
            label = ""
        elif label and line:
            if not _BASE64.fullmatch(line):
                raise ValueError(f"must hold base64 between its BEGIN {label} and END")
            kept.append(line)
    if label or not kept:
        raise ValueError(f"must hold a whole PEM object: -----BEGIN {labels[0]}----- to its END")
    return "\n".join(kept) + "\n"


def named(text: str) -> str:
    """Give the name of an option for a message, unless it might be a piece of a key: "a line" then."""
    return quoted(text) if _SAFE_WORD.fullmatch(text) else "a line"


def few(listed: tuple[str, ...], most: int) -> tuple[str, ...]:
    """Give a list that is not longer than `most`."""
    if len(listed) > most:
        raise ValueError(f"must be at most {most} of them")
    return listed


def quoted(text: str) -> str:
    """Give `text` for a message: one line, at most 40 characters, in quotes."""
    shown = "".join(char if char.isprintable() else "?" for char in text[:41])
    return '"' + (shown if len(shown) <= 40 else shown[:39] + "…") + '"'  # noqa: PLR2004
