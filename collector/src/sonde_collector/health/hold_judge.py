"""A person says whose fault it was that a provider failed as a whole."""

import psycopg
from attrs import frozen

from sonde_collector.db.queries import query
from sonde_collector.health import book, tell
from sonde_collector.health.holds import Verdict


class NotHeld(ValueError):
    """There is nothing to judge; the text says why and what to do."""


@frozen
class Judged:
    """What a judgement did.

    Attributes:
        results: how many held results entered the books.
        ended: the provider answers again already.
        again: it had been judged so before.
    """

    results: int
    ended: bool
    again: bool


def judge(conn: psycopg.Connection, provider: str, verdict: Verdict) -> Judged:
    """Judge the stretch of a provider that waits for it, else its newest one.

    "down": its failures enter uptime, and the states follow them. "ours": they never count.

    Args:
        conn: in autocommit mode.
        provider: key of the provider.
        verdict: whose fault it was.

    Raises:
        NotHeld: nothing of this provider was ever held, or it was judged the other way.
    """
    with conn.transaction():
        conn.execute(query("health_hold_waits"))
        row = conn.execute(query("health_hold_find"), {"provider": provider}).fetchone()
        if row is None:
            if conn.execute(query("health_provider_known"), {"provider": provider}).fetchone() is None:
                raise NotHeld(f'"{provider}" is no provider of the fleet')
            raise NotHeld(f'provider "{provider}" is not held: nothing waits for a judgement')
        one, provider_id, since, ended, before, _ = row
        if before == verdict:
            return Judged(0, ended is not None, again=True)
        if before == "down":
            raise NotHeld(f'provider "{provider}" was judged down already, and its failures count')
        results = 0
        if verdict == "down":
            conn.execute(query("health_rollups_wait"))
            values = {"provider": provider_id, "since": since, "ended": ended}
            results = conn.execute(query("health_hold_release"), values).rowcount
        conn.execute(query("health_hold_judge"), {"id": one, "verdict": verdict})
        book.publish(conn, [tell.judged(provider, since, verdict, results)])
    return Judged(results, ended is not None, again=False)
