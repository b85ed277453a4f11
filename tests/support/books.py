"""What a fleet's programs logged and kept, and the end of a test: everything drained, stopped and audited."""

import json
from collections.abc import Iterable
from typing import Any

import psycopg
from support.audit import Stream, read_spool
from support.fleet import Agent, Fleet
from support.programs import Program

Event = dict[str, Any]


def events(program: Program, word: str) -> list[Event]:
    """The log lines of a program that begin with this event word."""
    lines = program.log.read_text(errors="replace").splitlines() if program.log.exists() else []
    found = [json.loads(line) for line in lines if line.startswith("{")]
    return [event for event in found if event.get("event") == word]


def current(agent: Agent) -> Stream:
    """The stream that an agent's new results go to."""
    return read_spool(agent.spool, bodies=False)[-1]


def rows(fleet: Fleet, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """What the fleet's database answers."""
    with psycopg.connect(fleet.server.url(fleet.database)) as conn:
        return conn.execute(statement, values).fetchall()


def without_traceback(programs: Iterable[Program]) -> None:
    """No log of these shows a user the inside of a program."""
    for program in programs:
        text = program.log.read_text(errors="replace")
        assert "Traceback" not in text, f"{program.log}: {text[text.index('Traceback') - 300 :][:2000]}"


def balanced(fleet: Fleet) -> int:
    """Heals the fleet, drains it, stops its agents and audits; returns how many results were compared."""
    fleet.heal()
    fleet.drain()
    for agent in fleet.agents:
        assert agent.program.stop(within_s=15) == 0, agent.program.tail()
    without_traceback([*fleet.collectors, *(agent.program for agent in fleet.agents)])
    return fleet.audit()
