"""The filter `sonde.fleet.not_fit`: why agents may not be called well again after a change."""

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

DOCUMENTATION = """
name: not_fit
short_description: Why agents are not well again
options:
  _input:
    description: What C(sonde-collector agents --json) says now.
    type: list
    required: true
  expected:
    description: One entry for each agent, with host, vantage, version, started_s and rejected (as before).
    type: list
    required: true
  max_lag_s:
    description: How old the oldest result that waits may be, in seconds.
    type: float
    required: true
"""
EXAMPLES = """
- ansible.builtin.debug:
    msg: "{{ agents | sonde.fleet.not_fit(expected, max_lag_s=60) }}"
"""
RETURN = """
_value:
  description: One line for each agent that is not well, and why. Empty where all are.
  type: list
"""

_CLOCKS_S = 2.0  # by which the collector's clock and the host's may differ, as the preflight has them


class FilterModule:
    """What Ansible asks for filters."""

    def filters(self) -> dict[str, Any]:
        """Give them by name."""
        return {"not_fit": not_fit, "rejected_by_vantage": rejected_by_vantage}


def rejected_by_vantage(agents: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Give how many results of each vantage were set aside. **Pure**."""
    return {row["vantage"]: row["rejected"] for row in agents}


def not_fit(
    agents: Sequence[Mapping[str, Any]],
    expected: Sequence[Mapping[str, Any]],
    max_lag_s: float,
) -> list[str]:
    """Give "HOST (vantage CODE): REASONS" for each agent that is not well. **Pure**.

    Args:
        agents: rows of `sonde-collector agents --json`.
        expected: host, vantage, version, started_s (when its process began, by its own clock), rejected (how
            many results were set aside before).
        max_lag_s: age of the oldest result that waits. [s]
    """
    known = {row["vantage"]: row for row in agents}
    why = ((one, ", ".join(_reasons(known.get(one["vantage"]), one, float(max_lag_s)))) for one in expected)
    return [f"{one['host']} (vantage {one['vantage']}): {reasons}" for one, reasons in why if reasons]


def _reasons(row: Mapping[str, Any] | None, wanted: Mapping[str, Any], max_lag_s: float) -> Iterator[str]:
    """Give why one is not well, the cause before what follows from it."""
    if row is None:
        yield "the collector knows no such vantage: apply a fleet file that names it"
        return
    if row["revoked"] is not None:
        yield f"its certificate is revoked: {row['revoked']}"
    # Both are by the clock of its host. An earlier start is that of the process before.
    if not _is_since(row["started_at"], wanted["started_s"]):
        yield "it has not come back" + _quoted(row["last_error"])
        return
    if row["state"] != "live":
        yield f"it is {row['state']}" + _quoted(row["last_error"])
        return  # the rest is how it was
    if row["version"] != wanted["version"]:
        yield f"it runs {row['version']}, not {wanted['version']}"
    yield from _of_results(row, wanted, max_lag_s)
    if not row["ready"]:
        yield "it is not ready" + _quoted(row["reason"])
    if row["behind"]:
        yield "it has not taken its newest tasks yet"


def _of_results(row: Mapping[str, Any], wanted: Mapping[str, Any], max_lag_s: float) -> Iterator[str]:
    """Give what is wrong with what it sends: that its tasks reach it says nothing of the other way."""
    if not _is_since(row["connected_at"], wanted["started_s"] - _CLOCKS_S):
        yield "it sends no results" + _quoted(row["last_error"])
    if row["rejected"] > wanted["rejected"]:
        yield f"the collector set {row['rejected'] - wanted['rejected']} of its results aside"
    if row["lag_s"] > max_lag_s:
        yield f"its oldest unsent result has waited for {row['lag_s']:.0f} s" + _quoted(row["last_error"])


def _is_since(text: str | None, moment_s: float) -> bool:
    return text is not None and dt.datetime.fromisoformat(text).timestamp() >= moment_s


def _quoted(text: str | None) -> str:
    return f" ({text})" if text else ""
