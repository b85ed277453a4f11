"""Where rules and their cassettes lie: words of a command line to files, files to text."""

from collections.abc import Sequence
from pathlib import Path

import sonde_rules

_LARGEST = 4 << 20  # bytes of a file; the language has narrower bounds of its own
_ENDINGS = (".yaml", ".yml")


class Unknown(Exception):
    """A word names no rule, no file and no folder; the message says what to do."""


def rule_files(words: Sequence[str], *, default: Path = sonde_rules.RULES) -> list[Path]:
    """Give the rule files that `words` (slugs, files, folders) name, in order, each once; none: `default`'s.

    Raises:
        Unknown: one of them names nothing, or a folder holds no rule.
    """
    found: dict[Path, None] = {}
    for word in words or [str(default)]:
        path = Path(word)
        if path.is_dir():
            found.update(dict.fromkeys(_in_folder(path)))
        elif "/" in word or word.endswith(_ENDINGS):
            if not path.exists():
                raise Unknown(f"{word}: no such file")
            found[path] = None
        else:
            found[_shipped(word)] = None
    return list(found)


def rule_file(word: str) -> Path:
    """Give the one rule file that a word names.

    Raises:
        Unknown: it names nothing, or a folder of several.
    """
    found = rule_files([word])
    if len(found) > 1:
        raise Unknown(f"{word} holds {len(found)} rules: name one")
    return found[0]


def _shipped(slug: str) -> Path:
    path = sonde_rules.RULES / f"{slug}.yaml"
    if not slug or not path.is_file():
        raise Unknown(f'"{slug}" is no rule: `sonde-collector rules ls` lists them; a file needs its ending')
    return path


def _in_folder(folder: Path) -> list[Path]:
    inner = folder / "platforms"
    files = sorted(
        path for path in (inner if inner.is_dir() else folder).iterdir() if path.suffix in _ENDINGS
    )
    if not files:
        raise Unknown(f"{folder}: no rule (*.yaml) is in it")
    return files


def cassette_file(rule: Path, folder: Path | None = None) -> Path:
    """Give where the cassettes of a rule file lie: in `folder`, else in `cassettes/` beside its folder."""
    return (folder or rule.absolute().parent.parent / "cassettes") / rule.name


def shown(path: Path) -> str:
    """Give a path as a person would type it: relative where it lies below the current folder."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def read_text(path: Path) -> str:
    """Give the text of a file of rules or cassettes.

    Raises:
        ValueError: it is too large, no plain file, or not UTF-8; the message says which.
        OSError: it can't be read.
    """
    if not path.is_file():
        raise ValueError("is no plain file" if path.exists() else "no such file")
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError("is larger than 4 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 text (byte {error.start + 1})") from None
