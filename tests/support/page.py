"""The commands of a page: what its shell blocks tell whom to type, in order."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLOCK = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMPT = re.compile(r"(?P<who>[a-z][a-z0-9]*)[#$] (?P<command>.*)")
_HEREDOC = re.compile(r"<<'?(\w+)'?$")


@dataclass(frozen=True)
class Command:
    """One.

    Attributes:
        who: the prompt's name: a host, or "you".
        text: what is typed, all lines of it.
    """

    who: str
    text: str


def section(page: str, title: str) -> str:
    """Give what stands under a title of the second level. Pure."""
    _, found, rest = page.partition(f"\n## {title}\n")
    assert found, f'no section "{title}"'
    return re.split(r"^##+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def commands(text: str) -> Iterator[Command]:
    """Give the commands of all shell blocks; other lines without a prompt are what one prints. Pure."""
    for block in _BLOCK.findall(text):
        lines = iter(block.splitlines())
        for line in lines:
            if (prompt := _PROMPT.fullmatch(line)) is None:
                continue
            typed = [prompt["command"]]
            end = _HEREDOC.search(typed[0])
            while _goes_on("\n".join(typed), typed[-1], end):
                typed.append(next(lines))
            yield Command(prompt["who"], "\n".join(typed))


def _goes_on(typed: str, last: str, heredoc: re.Match[str] | None) -> bool:
    """Whether a shell would ask for another line."""
    if heredoc is not None:
        return last != heredoc[1]
    return last.endswith(("\\", "|")) or typed.count('"') % 2 == 1
