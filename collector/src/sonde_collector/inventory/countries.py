"""ISO 3166-1: alpha-2 codes and English short names, from data/countries.csv."""

import csv
from functools import cache
from importlib import resources


@cache
def countries() -> dict[str, str]:
    """Give code -> name of all 249 countries."""
    text = resources.files("sonde_collector").joinpath("data/countries.csv").read_text(encoding="utf-8")
    return {row["code"]: row["name"] for row in csv.DictReader(text.splitlines())}


def country(code: str) -> str:
    """Be a rule of `toml_config`: an ISO 3166-1 alpha-2 code."""
    if code not in countries():
        upper = code.upper()
        hint = f'; did you mean "{upper}"?' if upper in countries() else ""
        hint = '; the United Kingdom is "GB"' if upper == "UK" else hint
        raise ValueError(f'must be an ISO 3166-1 country code such as "NL", not "{code}"{hint}')
    return code
