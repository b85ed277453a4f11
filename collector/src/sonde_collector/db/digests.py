"""What each table holds, as a count and a checksum that servers of every major version agree on."""

import psycopg
from attrs import frozen
from psycopg import sql

from sonde_collector.db.queries import query

# In whatever order, each row counts by its text, which every version writes the same way.
_DIGEST = sql.SQL(
    "SELECT count(*), coalesce(bit_xor(('x' || left(md5(whole_row::text), 16))::bit(64)::bigint), 0) "
    "FROM ONLY {} AS whole_row"
)


@frozen
class Content:
    """What a table holds.

    Attributes:
        rows: how many.
        digest: of all of them.
    """

    rows: int
    digest: int


def digests(conn: psycopg.Connection) -> dict[str, Content]:
    """Gives every table with rows of its own, by its name with its schema; reads all of them.

    Args:
        conn: with the settings that a database of ours has, so that times are written in UTC.
    """
    found = {}
    for schema, name in conn.execute(query("keeping_tables")).fetchall():
        row = conn.execute(_DIGEST.format(sql.Identifier(schema, name))).fetchone()
        assert row is not None
        found[f"{schema}.{name}"] = Content(*row)
    return found
