"""What OpenVPN asks on its management socket, and what it prints: single lines, read. **Pure.**

The management socket is for secrets and for the hold; what happens is read from standard output, where each
line has the microsecond in which OpenVPN wrote it. The socket's own lines come milliseconds late.

Source: OpenVPN's doc/management-notes.txt and option --machine-readable-output (2.6).
"""

import re

from attrs import frozen

_NEED = re.compile(r">PASSWORD:Need '([^']*)'")
_BYTES = re.compile(r">BYTECOUNT:(\d+),")
_LOG = re.compile(r"(\d+\.\d+) ([0-9a-f]+) (.*)", re.DOTALL)
_FATAL = 0x10  # M_FATAL, of its errlevel.h
_MOST_SHOWN = 160  # of a peer's own words in a detail


@frozen
class Logged:
    """A line of standard output.

    Attributes:
        at: when it was written [s, wall clock].
        fatal: OpenVPN ends because of it.
        text: its words.
    """

    at: float
    fatal: bool
    text: str


def is_hold(line: str) -> bool:
    """Whether a line of the socket says that OpenVPN waits to be let go."""
    return line.startswith(">HOLD:")


def secret_wanted(line: str) -> str | None:
    """Give which secret a line of the socket asks for ("Auth": user name and password), or None."""
    match = _NEED.match(line)
    return match.group(1) if match else None


def bytes_in(line: str) -> int:
    """Give how many bytes came from the network as a line of the socket says; 0 = it says nothing of it."""
    match = _BYTES.match(line)
    return int(match.group(1)) if match else 0


def logged(line: str) -> Logged | None:
    """Give a line of standard output, or None: it is no log line."""
    match = _LOG.fullmatch(line)
    if match is None:
        return None
    return Logged(float(match.group(1)), bool(int(match.group(2), 16) & _FATAL), match.group(3))


def quoted(secret: str) -> str:
    """Give a word as the socket's lexer reads it back.

    Raises:
        ValueError: it holds a control character, which would end the line.
    """
    if any(ord(char) < ord(" ") or ord(char) == 0x7F for char in secret):  # noqa: PLR2004 -- DEL
        raise ValueError("holds a control character")
    return '"' + secret.replace("\\", "\\\\").replace('"', '\\"') + '"'


def shown(words: str) -> str:
    """Give a peer's own words for a detail: one printable line, cut where they are long."""
    line = "".join(char if char.isprintable() else " " for char in words).strip()
    return line if len(line) <= _MOST_SHOWN else line[: _MOST_SHOWN - 1] + "…"
