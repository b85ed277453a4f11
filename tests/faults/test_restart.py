"""Ordinary restarts under load: SIGTERM to agent and collector, with runs on demand under way."""

import re
import time
from pathlib import Path

import pytest
from support.asking import SLOW, operated
from support.postgres import Server
from support.programs import Program, eventually

pytestmark = [pytest.mark.faults, pytest.mark.postgres, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
UNITS = (
    ROOT / "agent/src/sonde_agent/systemd/sonde-agent.service",
    ROOT / "systemd/sonde-collector.service",
)


def _stop_bound_s(unit: str) -> float:
    """How long systemd waits for the service before it kills it."""
    (text,) = (path.read_text() for path in UNITS if path.name == unit)
    found = re.search(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert found is not None, f"{unit} sets none"
    return float(found[1])


def _restart(program: Program, unit: str) -> None:
    """Ends a program as systemd does, within systemd's patience, and starts it again."""
    began = time.monotonic()
    assert program.stop(within_s=_stop_bound_s(unit)) == 0, program.tail()
    assert time.monotonic() - began < _stop_bound_s(unit)
    program.start()


def test_a_restart_of_all_loses_nothing(postgres_server: Server, tmp_path: Path) -> None:
    """All are restarted in the midst of it: each request is answered, and each result is there."""
    with operated(postgres_server, "restart", tmp_path) as operator:
        fleet = operator.fleet
        answered = "SELECT count(*) FROM sonde.run_tasks WHERE outcome IS NOT NULL"
        with operator.asking("slow", "--on", "all", "--timeout", "90s") as asking:
            eventually(lambda: operator.one(answered) > 3, 60, "some are answered")
            _restart(fleet.agents[0].program, "sonde-agent.service")
            _restart(fleet.collectors[0], "sonde-collector.service")
            _restart(fleet.agents[1].program, "sonde-agent.service")
            out, err = asking.communicate(timeout=120)
        assert asking.returncode == 0, out + err
        assert f"all {2 * SLOW} answered" in out
        # What was cut is run again; what was answered is not.
        assert 2 * SLOW <= operator.on_demand("ams1") + operator.on_demand("nyc1") <= 3 * SLOW
        fleet.drain()
        for agent in fleet.agents:
            assert agent.program.stop(within_s=15) == 0, agent.program.tail()
        fleet.audit()
