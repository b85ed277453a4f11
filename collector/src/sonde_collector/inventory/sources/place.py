"""Words for countries and cities, as file names and lists write them. **Pure**, all of it."""

import re
from functools import cache

from sonde_collector.inventory import countries as iso
from sonde_collector.inventory.model.provider import Source
from sonde_proto.profiles import values

_LONGEST_CITY = 100
_GAP = re.compile(r"[-_ ]+")
# Names in common use that are not ISO 3166-1's.
_ALSO = {
    "bolivia": "BO", "bosnia": "BA", "brunei": "BN", "cape verde": "CV", "congo": "CG",
    "czech republic": "CZ", "great britain": "GB", "holland": "NL", "hong kong sar": "HK", "iran": "IR",
    "ivory coast": "CI", "laos": "LA", "macau": "MO", "macedonia": "MK", "moldova": "MD", "myanmar": "MM",
    "north macedonia": "MK", "palestine": "PS", "russia": "RU", "south korea": "KR", "swaziland": "SZ",
    "syria": "SY", "taiwan": "TW", "tanzania": "TZ", "turkey": "TR", "türkiye": "TR", "usa": "US",
    "united states of america": "US", "venezuela": "VE", "vietnam": "VN",
}  # fmt: skip


@cache
def _names() -> dict[str, str]:
    return {**_ALSO, **{name.casefold(): code for code, name in iso.countries().items()}}


def country(text: str, source: Source) -> str | None:
    """Give the ISO code that `text` means by the source's own table, as a code or as an English name.

    Returns:
        None where it means none: "uk" is no code, and nothing is guessed.
    """
    word = _GAP.sub(" ", text.strip()).casefold()
    for written, code in source.countries.items():
        if _GAP.sub(" ", written).casefold() == word:
            return code
    if word.upper() in iso.countries():
        return word.upper()
    return _names().get(word)


def city(text: str, source: Source, *, strict: bool = False) -> str | None:
    """Give the city that `text` means: by the source's own table, else as it is written.

    Args:
        text: "new-york" is New York.
        source: what lists it.
        strict: where the source has a table, what is not in it is None: a code is no name.

    Raises:
        ValueError: it is no name.
    """
    word = _GAP.sub(" ", text.strip())
    for written, name in source.cities.items():
        if _GAP.sub(" ", written).casefold() == word.casefold():
            return name
    if not word or (strict and source.cities):
        return None
    if len(word) > _LONGEST_CITY or not word.isprintable():
        raise ValueError(
            f"city {values.quoted(word)} is no name of 1 to {_LONGEST_CITY} printable characters"
        )
    return word.title() if word == word.lower() else word


def unknown_country(text: str) -> str:
    """Give the words for a country that means none."""
    shown = values.quoted(text)
    hint = 'countries = { uk = "GB" }' if text.casefold() == "uk" else f'countries = {{ {shown} = "…" }}'
    return f"{shown} is no country; where it stands for one, say so: {hint}"
