"""A fleet that is asked things: its operator's commands, and a plan whose runs take their time."""

import contextlib
import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from support.fleet import Fleet, prepare_database
from support.postgres import Server
from support.programs import BIN, run

SLOW = 12
"""Targets whose checks last SLOW_S each: somebody listens, and never says a word."""
SLOW_S = 2

_SLOW = """
[[target]]
key = "slow{n}"
kind = "http"
url = "http://127.3.0.{n}:{port}/"
"""
_PLAN = f"""
[[plan]]
key = "slow"
checks = ["endpoint"]
targets = ["slow*"]
every = "6h"
timeout = "{SLOW_S}s"
"""


class Operator:
    """Who gives commands to a fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    @property
    def _config(self) -> list[str]:
        return ["--config", str(self.fleet.directory / "collector0" / "collector.toml")]

    def agents(self, *argv: str) -> "subprocess.CompletedProcess[str]":
        """Runs `agents …` to its end."""
        return run("sonde-collector", "agents", *argv, *self._config)

    def asks(self, *argv: str, code: int = 0) -> dict[str, dict[str, Any]]:
        """Runs `agents run … --json`; returns its rows by vantage."""
        done = self.agents("run", *argv, "--json")
        assert done.returncode == code, done.stdout + done.stderr
        return {row["vantage"]: row for row in json.loads(done.stdout)["vantages"]}

    @contextlib.contextmanager
    def asking(self, *argv: str) -> "Iterator[subprocess.Popen[str]]":
        """Starts `agents run …`, and gives it once the request stands in the database."""
        before = self.one("SELECT count(*) FROM sonde.run_requests")
        command = [str(BIN / "sonde-collector"), "agents", "run", *argv, *self._config]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
            try:
                while self.one("SELECT count(*) FROM sonde.run_requests") == before:
                    assert program.poll() is None, program.communicate()
                yield program
            finally:
                if program.poll() is None:
                    program.send_signal(signal.SIGKILL)

    def states(self) -> dict[str, dict[str, Any]]:
        """What `agents --json` says, by vantage."""
        done = self.agents("--json")
        assert done.returncode == 0, done.stderr
        return {row["vantage"]: row for row in json.loads(done.stdout)}

    def one(self, sql: str, *values: Any) -> Any:
        """The one value that a statement gives."""
        with psycopg.connect(self.fleet.server.url(self.fleet.database), autocommit=True) as conn:
            row = conn.execute(sql, values).fetchone()
            assert row is not None
            return row[0]

    def execute(self, sql: str, *values: Any) -> None:
        """Runs a statement."""
        with psycopg.connect(self.fleet.server.url(self.fleet.database), autocommit=True) as conn:
            conn.execute(sql, values)

    def on_demand(self, code: str, table: str = "sonde.endpoint_checks") -> int:
        """How many results of a vantage are flagged as on demand."""
        return int(
            self.one(
                f"SELECT count(*) FROM {table} JOIN probe_locations ON id = probe_id "
                "WHERE code = %s AND 'on_demand' = ANY (sonde.quality_flags(quality))",
                code,
            )
        )


@contextlib.contextmanager
def operated(server: Server, name: str, directory: Path) -> Iterator[Operator]:
    """A running fleet of one collector and two agents, and its operator."""
    with contextlib.ExitStack() as doors:
        port = doors.enter_context(socket.create_server(("127.3.0.1", 0))).getsockname()[1]
        for n in range(2, SLOW + 1):
            doors.enter_context(socket.create_server((f"127.3.0.{n}", port)))
        more = "".join(_SLOW.format(n=n, port=port) for n in range(1, SLOW + 1)) + _PLAN
        prepare_database(server, name, directory / "inventory", more=more)
        with Fleet(directory / "fleet", server, name) as fleet:
            yield Operator(fleet)
