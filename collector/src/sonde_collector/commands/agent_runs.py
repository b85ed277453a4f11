"""`agents run`: tasks of a plan on many agents, once, now; and how far that has come."""

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg

from sonde_collector.commands.output import complain, say, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add, duration
from sonde_collector.config import CollectorConfig
from sonde_collector.control import asking
from sonde_collector.db.pool import open_database
from sonde_collector.read import runs as read

_LONGEST_S = 3600.0
_TIMEOUT_S = 300.0
_LOOK_EVERY_S = 0.5
_LAST_ANSWERS_S = 5.0  # after its end an agent says what it did not begin
_SAY_EVERY_S = 10.0  # where nobody sees a line change
_ANSWERED = ("done", "failed", "refused", "skipped", "gone")
_HEADERS = (
    "vantage",
    "asked",
    "done",
    "failed",
    "committed",
    "refused",
    "skipped",
    "offline",
    "no answer",
    "too old",
    "why",
)


def register(actions: Subparsers) -> None:
    """Add the parser under `agents`."""
    now = add(
        actions, "run", run, "run tasks of a plan now, once, on many agents, and show how far that is",
        detail=(
            "Beside the schedule and within all that bounds a run anyway: the agent's own policy, its "
            "budget, leases, one exclusive run at a time. It can name only what the agents are assigned. The "
            "results are flagged on_demand and stand in no average. Exit 0 only if every task was answered."
        ),
        examples=(
            "sonde-collector agents run speed --on ams1,nyc1",
            "sonde-collector agents run pings --on all --servers 'acme-nl-*' --timeout 2m",
            "sonde-collector agents run ports --on 'eu-*' --targets shop --json",
        ),
    )  # fmt: skip
    now.add_argument("plan", metavar="PLAN", help="its key in the fleet file")
    now.add_argument(
        "--on", required=True, type=_words, metavar="VANTAGES",
        help='codes with commas between, with * and ?; "all" = every active vantage',
    )  # fmt: skip
    now.add_argument("--servers", type=_words, metavar="KEYS", help="only of these servers; with * and ?")
    now.add_argument("--targets", type=_words, metavar="KEYS", help="only of these targets; with * and ?")
    now.add_argument(
        "--timeout", type=duration(1, _LONGEST_S), default=_TIMEOUT_S, metavar="DURATION",
        help='what has not begun by then does not: at most "1h" (default 5m)',
    )  # fmt: skip
    now.add_argument("--no-wait", action="store_true", help="only ask")


def run(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Ask, and show what comes of it."""
    choice = asking.Choice(args.plan, args.servers, args.targets)
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        asked = asking.run(conn, choice, asking.vantages(conn, args.on), args.timeout)
        count = sum(asked.tasks.values())
        if args.no_wait:
            facts = {"id": asked.id, "expires_at": asked.expires_at, "tasks": count, "vantages": asked.tasks}
            if args.json:
                say_json(facts)
            else:
                say(f"{asked.id}: {count} runs asked of {len(asked.tasks)} vantages")
            return 0
        try:
            rows = _wait(conn, asked.id, args.timeout, quiet=args.json)
        except KeyboardInterrupt:
            complain(
                "\nsonde-collector: nobody waits any more; agents may still begin what was asked of them "
                f"until {asked.expires_at:%H:%M:%S} UTC"
            )
            raise
    answered = all(_answered(row) == row["tasks"] for row in rows)
    if args.json:
        say_json({"id": asked.id, "answered": answered, "vantages": [_facts(row) for row in rows]})
    else:
        say_table(_HEADERS, [_row(row) for row in rows])
        say(_summary(rows))
    return 0 if answered else 1


def _wait(conn: psycopg.Connection, request: UUID, timeout_s: float, *, quiet: bool) -> list[dict[str, Any]]:
    """Look until all is answered and what ran is committed, or the time is over; say how far it is."""
    until = time.monotonic() + timeout_s + _LAST_ANSWERS_S
    progress = _Progress(shown=not quiet)
    while True:
        rows = read.progress(conn, request)
        progress.show(rows)
        waits = any(row["unanswered"] or row["committed"] < row["done"] + row["failed"] for row in rows)
        if not waits or time.monotonic() >= until:
            progress.end()
            return rows
        time.sleep(_LOOK_EVERY_S)


class _Progress:
    """One line that changes on a terminal; a line now and then elsewhere."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown
        self._said = ""
        self._said_at = float("-inf")

    def show(self, rows: Sequence[dict[str, Any]]) -> None:
        text = _line(rows)
        if not self._shown or text == self._said:
            return
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{text}\x1b[K")
            sys.stderr.flush()
        elif time.monotonic() - self._said_at >= _SAY_EVERY_S:
            self._said_at = time.monotonic()
            complain(text)
        self._said = text

    def end(self) -> None:
        if self._shown and sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")


def _line(rows: Sequence[dict[str, Any]]) -> str:
    """Give how far it is in one line. **Pure**."""
    tasks, answered = sum(row["tasks"] for row in rows), sum(map(_answered, rows))
    ran, committed = sum(row["done"] + row["failed"] for row in rows), sum(row["committed"] for row in rows)
    finished = sum(_answered(row) == row["tasks"] for row in rows)
    return (
        f"{answered} of {tasks} answered, {committed} of {ran} that ran committed; "
        f"{finished} of {len(rows)} vantages finished"
    )


def _answered(row: dict[str, Any]) -> int:
    return sum(row[name] for name in _ANSWERED)


def _facts(row: dict[str, Any]) -> dict[str, Any]:
    """Give a vantage's row with the unanswered by their cause. **Pure**."""
    offline = row["unanswered"] if row["silent"] else 0
    kept = {name: row[name] for name in ("vantage", "tasks", "done", "failed", "committed", "refused")}
    return {
        **kept,
        "skipped": row["skipped"] + row["gone"],
        "offline": offline,
        "no_answer": row["unanswered"] - offline,
        "too_old": row["too_old"],
        "reasons": row["reasons"] or {},
    }


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    facts = _facts(row)
    why = [f"{word} {count}" for word, count in facts["reasons"].items()]
    why += [f"assigned anew {row['gone']}"] if row["gone"] else []
    names = (
        "tasks", "done", "failed", "committed", "refused", "skipped", "offline", "no_answer", "too_old",
    )  # fmt: skip
    return (row["vantage"], *(str(facts[name] or "-") for name in names), ", ".join(why))


def _summary(rows: Sequence[dict[str, Any]]) -> str:
    tasks, answered = sum(row["tasks"] for row in rows), sum(map(_answered, rows))
    if tasks == answered:
        return f"all {tasks} answered"
    silent = [row["vantage"] for row in rows if row["unanswered"] and row["silent"]]
    old = [row["vantage"] for row in rows if row["too_old"]]
    parts = [f"{tasks - answered} of {tasks} not answered"]
    parts += [f"offline: {', '.join(silent[:20])}"] if silent else []
    parts += [f"too old to be asked: {', '.join(old[:20])}"] if old else []
    return "; ".join(parts)


def _words(text: str) -> tuple[str, ...]:
    words = tuple(filter(None, (word.strip() for word in text.split(","))))
    if not words:
        raise argparse.ArgumentTypeError("names nothing")
    return words
