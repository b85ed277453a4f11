"""What operators ask of agents, into the database: run tasks now, or measure nothing for a while."""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

import attrs
import psycopg

from sonde_collector.db.queries import query
from sonde_collector.inventory.references import chosen
from sonde_proto.toml_config import ConfigError
from sonde_proto.v1 import control_pb2

ALL = "all"
MOST_TASKS = 1000
"""Of one vantage in one request: its agent takes on no more at once."""


@attrs.frozen
class Choice:
    """Which tasks of a plan are meant.

    Attributes:
        plan: its key.
        servers: keys, with * ? and [; None = all, unless targets are chosen.
        targets: the same of endpoints.
    """

    plan: str
    servers: Sequence[str] | None = None
    targets: Sequence[str] | None = None

    def of(self, tasks: Sequence[control_pb2.Task]) -> list[str]:
        """Give the keys of those that are meant. **Pure**."""
        mine = [task for task in tasks if task.key.startswith(f"{self.plan}/")]
        if self.servers is None and self.targets is None:
            return [task.key for task in mine]
        both = (self.servers, False), (self.targets, True)
        return [
            task.key
            for patterns, endpoint in both
            for task in mine
            if patterns is not None
            and task.HasField("endpoint") == endpoint
            and chosen(tuple(patterns), [task.target])
        ]


@attrs.frozen
class Asked:
    """A request that was made.

    Attributes:
        id: its own.
        expires_at: what has not begun by then does not.
        tasks: of each vantage, how many.
    """

    id: UUID
    expires_at: dt.datetime
    tasks: dict[str, int]


def vantages(conn: psycopg.Connection, words: Sequence[str]) -> list[str]:
    """Give the codes of the active vantages that `words` name: "all", codes, patterns with * ? and [.

    Raises:
        ConfigError: a word names none.
    """
    codes = [row[0] for row in conn.execute(query("runs_vantages"))]
    patterns = ["*" if word == ALL else word for word in words]
    unknown = [word for word in patterns if not chosen((word,), codes)]
    if unknown or not patterns:
        known = f"active are {', '.join(codes[:20])}" if codes else "the inventory has none yet"
        raise ConfigError([f'no active vantage is called "{word}": {known}' for word in unknown or [""]])
    return chosen(tuple(patterns), codes)


def run(conn: psycopg.Connection, choice: Choice, codes: Sequence[str], for_s: float) -> Asked:
    """Ask the agents of these vantages to run what is chosen once, now.

    Raises:
        ConfigError: none of them is assigned any of it, or too many.
    """
    with conn.transaction():
        rows = conn.execute(query("runs_plan_tasks"), {"vantages": list(codes)}).fetchall()
        named = {}
        for code, probe, revision, body in rows:
            tasks = choice.of(control_pb2.Assignment.FromString(bytes(body)).tasks)
            if len(tasks) > MOST_TASKS:
                bound = f"at most {MOST_TASKS}: narrow it by --servers or --targets"
                raise ConfigError([f"{len(tasks)} tasks at {code}, {bound}"])
            if tasks:
                named[code] = (probe, revision, tasks)
        if not named:
            what = f'plan "{choice.plan}" has no such task at {", ".join(codes[:20])}'
            raise ConfigError([f"{what}: `sonde-collector apply` writes what the fleet file says"])
        row = conn.execute(query("runs_add"), {"plan": choice.plan, "for_s": for_s}).fetchone()
        assert row is not None
        for probe, revision, tasks in named.values():
            values = {"id": row[0], "probe": probe, "revision": revision, "tasks": tasks}
            conn.execute(query("runs_add_tasks"), values)
    return Asked(row[0], row[1], {code: len(tasks) for code, (_, _, tasks) in sorted(named.items())})


@attrs.frozen
class Paused:
    """A vantage that was paused.

    Attributes:
        vantage: its code.
        until: when it measures again; None = when it is resumed.
        hears: whether its agent hears of pauses; None = it was never heard itself.
    """

    vantage: str
    until: dt.datetime | None
    hears: bool | None


def pause(conn: psycopg.Connection, codes: Sequence[str], for_s: float | None, reason: str) -> list[Paused]:
    """Have these vantages measure nothing, for `for_s` or until they are resumed."""
    out = []
    with conn.transaction():
        for code, probe in _probes(conn, codes):
            values = {"probe": probe, "for_s": for_s, "reason": reason}
            row = conn.execute(query("pauses_set"), values).fetchone()
            assert row is not None
            until = row[0]
            conn.execute(query("pauses_reassign"), {"probe": probe})
            when = "until it is resumed" if until is None else f"until {until:%Y-%m-%d %H:%M} UTC"
            why = f": {reason}" if reason else ""
            event = {"kind": "agent_paused", "vantage": code, "detail": f"{code} is paused {when}{why}"}
            conn.execute(query("pauses_event"), {**event, "reason": reason, "until": until})
            told = conn.execute(query("pauses_told"), {"probe": probe}).fetchone()
            out.append(Paused(code, until, None if told is None else told[0]))
        conn.execute(query("inventory_notify"))
    return out


def resume(conn: psycopg.Connection, codes: Sequence[str]) -> list[str]:
    """Have these vantages measure again; give those that were paused."""
    out = []
    with conn.transaction():
        for code, probe in _probes(conn, codes):
            row = conn.execute(query("pauses_end"), {"probe": probe}).fetchone()
            if row is not None and row[0]:
                conn.execute(query("pauses_reassign"), {"probe": probe})
                event = {"kind": "agent_resumed", "vantage": code, "detail": f"{code} measures again"}
                conn.execute(query("pauses_event"), {**event, "reason": "", "until": None})
                out.append(code)
        conn.execute(query("inventory_notify"))
    return out


def _probes(conn: psycopg.Connection, codes: Sequence[str]) -> list[tuple[str, int]]:
    return conn.execute(query("pauses_probes"), {"vantages": list(codes)}).fetchall()
