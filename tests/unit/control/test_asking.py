"""Which tasks of a plan an operator means."""

import pytest

from sonde_collector.control.asking import Choice
from sonde_proto.v1 import control_pb2


def tasks() -> list[control_pb2.Task]:
    """What a vantage is assigned: two plans, servers and targets in one of them."""
    made = [
        control_pb2.Task(key=f"all/{server}/4", target=server, ping=control_pb2.PingSpec())
        for server in ("nl-1", "nl-2", "de-1")
    ]
    made += [
        control_pb2.Task(key=f"all/{target}", target=target, endpoint=control_pb2.EndpointSpec())
        for target in ("shop", "nl-1")
    ]
    made.append(control_pb2.Task(key="all/unlock", unlock=control_pb2.UnlockSpec()))
    return [*made, control_pb2.Task(key="all-night/nl-1/4", target="nl-1", ping=control_pb2.PingSpec())]


@pytest.mark.parametrize(
    ("choice", "keys"),
    [
        (Choice("all"), ["nl-1/4", "nl-2/4", "de-1/4", "shop", "nl-1", "unlock"]),
        (Choice("all", servers=("nl-*",)), ["nl-1/4", "nl-2/4"]),
        (Choice("all", servers=("nl-1", "de-?")), ["nl-1/4", "de-1/4"]),
        (Choice("all", targets=("nl-1",)), ["nl-1"]),
        (Choice("all", servers=("de-1",), targets=("*",)), ["de-1/4", "shop", "nl-1"]),
        (Choice("al"), []),
        (Choice("all", servers=("shop",)), []),
    ],
)
def test_a_choice_is_of_one_plan_and_of_what_is_named(choice: Choice, keys: list[str]) -> None:
    """Servers and targets of one name are not mixed up, nor plans whose names begin alike."""
    assert choice.of(tasks()) == [f"all/{key}" for key in keys]
