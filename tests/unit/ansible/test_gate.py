"""When agents count as well again."""

from typing import Any

import pytest
from support.collection import plugin

not_fit = plugin("filter/gate").not_fit

STARTED_S = 1_800_000_000
WELL = {
    "vantage": "ams1",
    "state": "live",
    "version": "0.2.0",
    "started_at": "2027-01-15T08:00:00.500000+00:00",
    "connected_at": "2027-01-15T07:59:59+00:00",
    "last_error": "",
    "ready": True,
    "reason": "",
    "behind": False,
    "lag_s": 1.0,
    "rejected": 7,
    "revoked": None,
}
WANTED = {"host": "a.example", "vantage": "ams1", "version": "0.2.0", "started_s": STARTED_S, "rejected": 7}


def reasons(**fields: Any) -> list[str]:
    """Give what is told of an agent that is well but for these fields."""
    return list(not_fit([WELL | fields], [WANTED], max_lag_s=60.0))


def test_an_agent_that_is_back_and_drained_is_well() -> None:
    """No line for it."""
    assert reasons() == []


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"started_at": "2027-01-15T07:59:59+00:00"}, "it has not come back"),
        ({"connected_at": "2027-01-15T07:59:57+00:00"}, "it sends no results"),
        ({"connected_at": None}, "it sends no results"),
        ({"started_at": None, "state": "never seen", "last_error": None}, "it has not come back"),
        ({"state": "silent", "last_error": "no route"}, "it is silent (no route)"),
        ({"version": "0.1.0"}, "it runs 0.1.0, not 0.2.0"),
        ({"rejected": 9}, "the collector set 2 of its results aside"),
        ({"ready": False, "reason": "no IPv4"}, "it is not ready (no IPv4)"),
        ({"behind": True}, "it has not taken its newest tasks yet"),
        ({"lag_s": 61.4}, "its oldest unsent result has waited for 61 s"),
        ({"revoked": "stolen"}, "its certificate is revoked: stolen"),
        ({"ready": False, "behind": True}, "it is not ready, it has not taken its newest tasks yet"),
        ({"vantage": "nyc1"}, "the collector knows no such vantage: apply a fleet file that names it"),
    ],
)
def test_what_is_wrong_names_host_and_reason(fields: dict[str, Any], reason: str) -> None:
    """Each thing that makes an agent unfit is told, with its host and vantage."""
    assert reasons(**fields) == [f"a.example (vantage ams1): {reason}"]
