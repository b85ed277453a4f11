"""Keeps what is revoked fresh: a NOTIFY tells of a change, a read every few seconds finds what was missed."""

import asyncio

import psycopg
import structlog

from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query
from sonde_collector.identity import Peers, Revocation
from sonde_collector.pki.book import revoked_words

POLL_S = 5.0
_AGAIN_S = 1.0
_log = structlog.get_logger()


class Revoked:
    """What the database says, into `peers`.

    Args:
        database: where it stands.
        peers: who judges by it.
    """

    def __init__(self, database: Database, peers: Peers) -> None:
        self._database = database
        self._peers = peers

    async def refresh(self) -> None:
        """Read all of it.

        Raises:
            psycopg.Error, OSError: the database does not answer; what was known stays.
        """
        self._peers.learn(await asyncio.to_thread(self._read))

    async def run(self) -> None:
        """Do so for ever; while the database is away, judge by what was known."""
        healthy = True
        while True:
            try:
                async with await self._database.listen() as conn:
                    await conn.execute(query("identity_listen"))
                    await self.refresh()
                    if not healthy:
                        _log.info("revocations_followed")
                    healthy = True
                    while True:
                        async for _ in conn.notifies(timeout=POLL_S, stop_after=1):
                            pass
                        await self.refresh()
            except (psycopg.Error, OSError) as error:
                if healthy:
                    _log.warning("revocations_unread", error=str(error).splitlines()[0], advice="retrying")
                healthy = False
                await asyncio.sleep(_AGAIN_S)

    def _read(self) -> dict[str, Revocation]:
        with self._database.pool.connection() as conn:
            rows = conn.execute(query("identity_revocations")).fetchall()
        return {
            code: Revocation(revoked_words(code, at, reason), frozenset(since))
            for code, at, reason, since in rows
        }
