"""One turn of health, in one transaction: take what came, fold it, decide, write states and what is told.

Everything that a turn knows lies in PostgreSQL, and everything that it does is committed together. So
whichever collector does it, and wherever one is killed: each change is told once.
"""

import psycopg
from attrs import frozen

from sonde_collector.db.queries import query
from sonde_collector.health import book
from sonde_collector.health.decide import Remembered, decide
from sonde_collector.health.entries import Verdicts, fold
from sonde_collector.health.settings import Settings
from sonde_collector.health.watched import KINDS, Kind, Watched

_SETTINGS = Settings()


@frozen
class Turned:
    """What a turn did.

    Attributes:
        led: this collector's turn it was; else another one is at it.
        more: the inbox holds more than one turn takes.
        changes: how many states changed.
    """

    led: bool
    more: bool = False
    changes: int = 0


def turn(conn: psycopg.Connection, *, certificates: bool = True) -> Turned:
    """Do one turn.

    Args:
        conn: in autocommit mode, so that the transaction is this function's own.
        certificates: look at these as well.

    Raises:
        psycopg.Error: nothing was done.
    """
    with conn.transaction():
        row = conn.execute(query("health_lead")).fetchone()
        assert row is not None
        leads, now = row
        if not leads:
            return Turned(led=False)
        new, names, more = book.take(conn)
        known, labels = book.windows(conn)
        for one in set(new["target"]["object"].tolist()):
            series = {str(each) for each in new["target"]["series"][new["target"]["object"] == one].tolist()}
            mine = {name: label for name, label in names.items() if name in series}
            labels["target"][one] = labels["target"].get(one, {}) | mine
        watched = book.watched(conn, labels["target"])
        folded = {kind: _fold(kind, watched, known[kind], new[kind]) for kind in KINDS}
        found = book.found_certificates(conn) if certificates else None
        decided = decide(watched, Remembered(folded, new, book.states(conn), found), now)
        for kind in KINDS:
            things = watched.things(kind)
            touched = sorted(set(new[kind]["object"].tolist()) & things.keys())
            book.remember(conn, kind, folded[kind], touched, labels[kind])
        book.write(conn, decided, now)
    return Turned(led=True, more=more, changes=len(decided.changes))


def waiting(conn: psycopg.Connection) -> bool:
    """Tell whether something came."""
    row = conn.execute(query("health_waiting")).fetchone()
    return bool(row and row[0])


def _fold(kind: Kind, watched: Watched, known: Verdicts, new: Verdicts) -> Verdicts:
    things = watched.things(kind)

    def keep(one: int) -> int:
        return (things[one].settings if one in things else _SETTINGS).window

    return fold(known, new, keep) if len(new) else known
