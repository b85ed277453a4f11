"""An `.ovpn` file into options: words of a line, blocks between tags. **Pure.**

As OpenVPN reads it: words are split at white space, quotes hold words together, a backslash takes the next
character as it is, `#` and `;` at the start of a word begin a comment, `--` may stand before the option.
"""

from collections.abc import Iterator

from attrs import frozen

from sonde_proto.profiles.model import Mistake
from sonde_proto.profiles.values import quoted


@frozen
class Option:
    """One option.

    Attributes:
        line: on which it stands, or its block begins.
        name: without `--`.
        words: what follows it on the line.
        block: what stands between `<name>` and `</name>`; None = it has no block.
    """

    line: int
    name: str
    words: tuple[str, ...]
    block: str | None = None


def options(text: str, mistakes: list[Mistake]) -> Iterator[Option]:
    """Give the options of `text` in order; a line that can't be read is added to `mistakes`.

    The inside of `<connection>` comes as options of its own, between `connection` and `/connection`.
    """
    block: list[str] = []
    tag, began = "", 0
    for at, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if tag:
            if line == f"</{tag}>":
                yield Option(began, tag, (), "\n".join(block))
                tag = ""
            else:
                block.append(line)
            continue
        if not line or line[0] in "#;":
            continue
        if line[0] == "<" and line[-1] == ">":
            name = line[1:-1]
            if name.lstrip("/") == "connection":
                yield Option(at, name, ())
            else:
                tag, began, block = name, at, []
            continue
        try:
            words = split(line)
        except ValueError as error:
            mistakes.append(Mistake(at, str(error)))
            continue
        if words:
            yield Option(at, words[0].removeprefix("--"), tuple(words[1:]))
    if tag:
        mistakes.append(Mistake(began, f"{quoted(f'<{tag}>')} has no end: </{tag[:40]}>"))


def split(line: str) -> list[str]:
    """Give the words of one line.

    Raises:
        ValueError: a quote has no end.
    """
    if not set(line) & set("\"'\\#;"):
        return line.split()
    words: list[str] = []
    at = 0
    while at < len(line):
        if line[at].isspace():
            at += 1
        elif line[at] in "#;":
            break
        else:
            word, at = _word(line, at)
            words.append(word)
    return words


def _word(line: str, at: int) -> tuple[str, int]:
    """Give the word that begins at `at`, and where it ends."""
    kept: list[str] = []
    quote = ""
    while at < len(line) and (quote or not line[at].isspace()):
        char = line[at]
        if char == quote:
            quote = ""
        elif char in "\"'" and not quote:
            quote = char
        elif char == "\\" and quote != "'":
            at += 1
            kept.append(line[at : at + 1])
        else:
            kept.append(char)
        at += 1
    if quote:
        raise ValueError(f"has a {quote} without its end")
    return "".join(kept), at
