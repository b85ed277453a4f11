"""What an agent keeps of its own, beside what the database has."""

import csv
import datetime as dt
from collections import Counter
from pathlib import Path

import pytest
from support.audit import TABLES
from support.books import balanced, rows
from support.fleet import SERVERS, Fleet
from support.programs import run

pytestmark = [pytest.mark.faults, pytest.mark.postgres]


def test_export_equals_what_was_committed(fleet: Fleet, tmp_path: Path) -> None:
    """A drained agent's exported history and the database agree on seq, time and target of each result."""
    balanced(fleet)
    for agent in fleet.agents:
        to = tmp_path / f"{agent.code}.csv"
        done = run("sonde-agent", "export", "--config", str(agent.directory / "agent.toml"), "--to", str(to))
        assert done.returncode == 0, done.stderr
        with to.open(newline="") as file:
            lines = list(csv.DictReader(file))
        cursors = dict(rows(fleet, "SELECT encode(epoch, 'hex'), acked_seq FROM sonde.streams"))
        exported = Counter(
            (line["stream"], int(line["seq"]), line["measured_at"])
            for line in lines
            if int(line["seq"]) <= cursors[line["stream"]]
        )
        assert sum(line["acked"] == "true" for line in lines) > SERVERS
        committed: Counter[tuple[str, int, str]] = Counter()
        for table, column in TABLES.items():
            found = rows(
                fleet,
                f"SELECT encode(s.epoch, 'hex'), t.seq, t.{column} FROM {table} t JOIN sonde.streams s "
                "ON s.id = t.stream_id JOIN probe_locations p ON p.id = s.probe_id WHERE p.code = %s",
                agent.code,
            )
            committed.update((epoch, seq, _text(at)) for epoch, seq, at in found)
        assert exported == committed
        targets = {line["seq"]: line["target"] for line in lines if line["result"] == "performance"}
        known = rows(
            fleet,
            "SELECT l.seq::text, k.key FROM performance_logs l JOIN sonde.server_keys k USING (server_id) "
            "JOIN sonde.streams s ON s.id = l.stream_id JOIN probe_locations p ON p.id = s.probe_id "
            "WHERE p.code = %s",
            agent.code,
        )
        assert known
        assert all(targets[seq] == key for seq, key in known)


def _text(at: dt.datetime) -> str:
    return at.astimezone(dt.UTC).isoformat(sep=" ", timespec="microseconds")
