"""Dashboards as Grafana reads them: panels, variables, and queries with all that Grafana fills in.

Source: Grafana's documentation of the PostgreSQL and Prometheus data sources (macros, time series queries)
and of variables (formats, "Custom all value").
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "packaging" / "monitoring"
BOARDS = {name: FOLDER / "grafana" / f"sonde-{name}.json" for name in ("postgresql", "prometheus")}
Board = dict[str, Any]
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def board(name: str) -> Board:
    """One of the dashboards."""
    found: Board = json.loads(BOARDS[name].read_text())
    return found


def panels(of: Board) -> list[Board]:
    """Its panels, without the rows."""
    return [panel for panel in of["panels"] if panel["type"] != "row"]


def targets(of: Board) -> Iterator[tuple[Board, Board]]:
    """Each query with its panel."""
    for panel in panels(of):
        for target in panel["targets"]:
            yield panel, target


def seconds(text: str) -> int:
    """`5m` in seconds."""
    return int(text[:-1]) * _UNITS_S[text[-1]]


def expand_sql(
    text: str, *, since: str, until: str, interval: str, values: Mapping[str, Sequence[str]]
) -> str:
    """The SQL that Grafana sends.

    Args:
        text: of a panel or variable.
        since: the beginning of the chosen time, ISO 8601 in UTC.
        until: its end.
        interval: `$__interval`.
        values: variable -> what is chosen; of All these are all values.
    """
    for name, chosen in values.items():
        listed = ",".join("'" + value.replace("'", "''") + "'" for value in chosen)
        text = text.replace(f"${{{name}:sqlstring}}", listed)
    text = re.sub(r"\$__timeFilter\(([\w.]+)\)", rf"\1 BETWEEN '{since}' AND '{until}'", text)
    text = text.replace("$__interval", interval)

    def group(found: re.Match[str]) -> str:
        step = seconds(found[2])
        return f'floor(extract(epoch from {found[1]})/{step})*{step} AS "time"'

    text = re.sub(r"\$__timeGroupAlias\(([\w.]+), ?'?(\w+)'?\)", group, text)
    assert "$" not in text, f"Grafana would not fill this in: {text}"
    return text


def expand_promql(text: str, *, interval_s: int, values: Mapping[str, str]) -> str:
    """The PromQL that Grafana sends.

    Args:
        text: of a panel.
        interval_s: how often Prometheus scrapes.
        values: variable -> a regular expression, as Grafana makes it of what is chosen.
    """
    text = text.replace("$__rate_interval", f"{4 * interval_s}s")
    for name, chosen in values.items():
        text = re.sub(rf"\${name}\b", chosen, text)
    assert "$" not in text, f"Grafana would not fill this in: {text}"
    return text
