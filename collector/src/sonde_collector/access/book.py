"""The keys as one collector knows them: read again every few seconds, so that a request costs no query.

A key that was revoked is refused within that time. Who asks with unknown keys makes the database little work:
for those the table is read again a few times a second at most, and they wait for it.
"""

import asyncio
import datetime as dt
import hmac
import time

import attrs
import psycopg
from psycopg.rows import class_row
from psycopg_pool import PoolTimeout

from sonde_collector.access import tokens
from sonde_collector.access.bucket import Bucket, Taken
from sonde_collector.db.pool import Database
from sonde_collector.db.queries import query

KEPT_S = 5.0
"""A key that was revoked opens no door after this. [s]"""
_AGAIN_S = 0.25
_USES_EVERY_S = 30.0
_TIMEOUT_S = 2.0


@attrs.frozen
class ApiKey:
    """One key that is valid.

    Attributes:
        expires_at: Unix time, or None. [s]
    """

    id: int
    name: str
    hash: bytes
    rate_per_minute: int
    expires_at: float | None


class KeysUnknown(Exception):
    """The table of keys can't be read, so nobody can be told from a stranger."""


class KeyBook:
    """Finds who a token belongs to, and counts what it asks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._keys: dict[bytes, ApiKey] = {}
        self._read_at = float("-inf")  # when the newest look at the table began, and the newest that failed
        self._failed_at = float("-inf")
        self._reading = asyncio.Lock()
        self._buckets: dict[int, Bucket] = {}
        self._uses: dict[int, dt.datetime] = {}

    async def find(self, token: str) -> ApiKey | None:
        """Give the key that `token` belongs to, or None.

        Raises:
            KeysUnknown: the database is away, and the keys last read are too old to be trusted.
        """
        digest = tokens.digest(token)
        found = self._find(digest)
        now = time.monotonic()
        # A key made a moment ago must open: an unknown one waits for a look that begins after it came.
        wanted = now - KEPT_S if found else now
        if self._read_at < wanted:
            await self._read_since(wanted)
            found = self._find(digest)
        if found is None or (found.expires_at is not None and found.expires_at <= time.time()):
            return None
        self._uses[found.id] = dt.datetime.now(dt.UTC)
        return found

    def take(self, key: ApiKey) -> Taken:
        """Count one request of `key`."""
        now = time.monotonic()
        bucket = self._buckets.setdefault(key.id, Bucket.full(key.rate_per_minute, now))
        return bucket.take(key.rate_per_minute, now)

    async def keep_uses(self) -> None:
        """Write down for ever when keys were used; what can't be written waits for the next turn."""
        try:
            while True:
                await asyncio.sleep(_USES_EVERY_S)
                await self.write_uses()
        finally:
            await self.write_uses()

    async def write_uses(self) -> None:
        """Write down when keys were used since the last time."""
        uses, self._uses = self._uses, {}
        if not uses:
            return
        try:
            await asyncio.to_thread(self._write, uses)
        except (psycopg.Error, PoolTimeout):
            self._uses = {**uses, **self._uses}

    def _write(self, uses: dict[int, dt.datetime]) -> None:
        with self._database.pool.connection(timeout=_TIMEOUT_S) as conn:
            conn.execute(query("api_keys_used"), {"ids": list(uses), "at": list(uses.values())})

    def _find(self, digest: bytes) -> ApiKey | None:
        # The lookup goes by a hash that a stranger can't steer, so its time tells nothing; the last word is
        # a comparison that takes the same time for every difference.
        key = self._keys.get(digest)
        return key if key is not None and hmac.compare_digest(key.hash, digest) else None

    async def _read_since(self, moment: float) -> None:
        """Return once the table was read at `moment` or later."""
        async with self._reading:
            if self._read_at >= moment:  # somebody else has just read
                return
            if self._failed_at >= moment:
                raise KeysUnknown
            await asyncio.sleep(self._read_at + _AGAIN_S - time.monotonic())
            began = time.monotonic()
            try:
                keys = await asyncio.to_thread(self._read)
            except (psycopg.Error, PoolTimeout) as error:
                self._failed_at = began
                raise KeysUnknown from error
            self._keys = {key.hash: key for key in keys}
            self._read_at = began
            known = {key.id for key in keys}
            self._buckets = {id_: bucket for id_, bucket in self._buckets.items() if id_ in known}

    def _read(self) -> list[ApiKey]:
        with (
            self._database.pool.connection(timeout=_TIMEOUT_S) as conn,
            conn.cursor(row_factory=class_row(ApiKey)) as cursor,
        ):
            return cursor.execute(query("api_keys_valid")).fetchall()
