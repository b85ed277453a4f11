"""File names that tell country and city: a template or a regular expression. **Pure**, all of it."""

import re
from functools import cache

_FIELD = re.compile(r"\{([^{}]*)\}|(\*)")
_FIELDS = {"country": r"[^/]+?", "city": r"[^/]+?"}


def pattern(text: str) -> str:
    """Be a rule of `toml_config`: a pattern that can be matched."""
    try:
        compiled(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    if not fields_of(text):
        raise ValueError(
            'must tell the country or the city: a template such as "{country}-{city}-*", or a regular '
            f'expression with (?P<country>…) and (?P<city>…), not "{text}"'
        )
    return text


@cache
def compiled(text: str) -> re.Pattern[str]:
    """Give the expression that a whole file name without its suffix must match, in any case of letters.

    Raises:
        ValueError: a template names a field that there is not.
        re.error: it is no regular expression.
    """
    if "(?P<" in text:
        return re.compile(text, re.IGNORECASE)
    parts, end = [], 0
    for field in _FIELD.finditer(text):
        parts.append(re.escape(text[end : field.start()]))
        end = field.end()
        if field[2]:
            parts.append(".*?")
        elif field[1] in _FIELDS:
            parts.append(f"(?P<{field[1]}>{_FIELDS[field[1]]})")
        else:
            raise ValueError(f'names "{{{field[1]}}}"; there are {{country}}, {{city}} and * for anything')
    return re.compile("".join(parts) + re.escape(text[end:]), re.IGNORECASE)


def fields_of(text: str) -> frozenset[str]:
    """Give which of country and city the pattern tells; nothing where it is none."""
    try:
        return frozenset(compiled(text).groupindex) & _FIELDS.keys()
    except (re.error, ValueError):
        return frozenset()
