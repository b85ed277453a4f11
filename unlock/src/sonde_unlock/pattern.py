"""Regular expressions that can't hang and can't grow: RE2, with a bound on pattern, program and text.

The only file that knows RE2. A text is bytes, as it came: no decoding is needed to look for a marker.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import attrs
import re2

MAX_PATTERN = 1000
"""Characters."""
MAX_PROGRAM = 8000
"""RE2 instructions: a search costs at worst text times program; ordinary markers stay below 2000."""
MAX_MEMORY_BYTES = 1 << 19
"""Of one pattern: a third for its automaton, which is made anew when it is full."""
MAX_TEXT_BYTES = 3_000_000
MAX_TRIES = 5000
"""Matches that `every` looks at."""


class BadPattern(ValueError):
    """The pattern is malformed, too large, or needs what a linear search can't do; the text says which."""


@attrs.frozen
class Pattern:
    """A pattern that was found good. Two are equal when their texts are.

    Attributes:
        text: as the rule has it.
    """

    text: str
    _regex: Any = attrs.field(eq=False, repr=False)

    @property
    def groups(self) -> int:
        """How many groups it captures. **Pure.**"""
        return int(self._regex.groups)

    def search(self, text: bytes) -> bool:
        """Whether it is found anywhere in the first `MAX_TEXT_BYTES`. **Pure.**"""
        return self._regex.search(text[:MAX_TEXT_BYTES]) is not None

    def covers(self, text: bytes) -> bool:
        """Whether it matches the whole text. **Pure.**"""
        return len(text) <= MAX_TEXT_BYTES and self._regex.fullmatch(text) is not None

    def every(self, text: bytes) -> Iterator[str]:
        """Give the first group, or without groups the whole, of each match that holds something. **Pure.**"""
        for match in islice(self._regex.finditer(text[:MAX_TEXT_BYTES]), MAX_TRIES):
            found = match.group(1 if self._regex.groups else 0)
            if found:
                yield found.decode(errors="replace")


def pattern(text: str) -> Pattern:
    """Compile a pattern in RE2's syntax. **Pure.**

    Raises:
        BadPattern: when it can't be used, saying why.
    """
    if len(text) > MAX_PATTERN:
        raise BadPattern(f"it is longer than {MAX_PATTERN} characters")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY_BYTES
    try:
        regex = re2.compile(text.encode(), options)
    except UnicodeEncodeError:
        raise BadPattern("it holds half a character (a lone surrogate)") from None
    except re2.error as error:
        reason = error.args[0] if error.args else "malformed"
        said = reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
        raise BadPattern(f"RE2 says: {said}") from None
    if regex.programsize > MAX_PROGRAM:
        raise BadPattern("it is too large: counted repeats multiply")
    return Pattern(text, regex)
