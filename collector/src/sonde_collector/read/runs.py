"""How far requests to run something now have come. Reads only."""

from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

from sonde_collector.db.queries import query
from sonde_collector.read.status import SILENT_S

Row = dict[str, Any]


def progress(conn: psycopg.Connection, request: UUID) -> list[Row]:
    """Give one row a vantage: tasks by what became of them, and of those unanswered who is silent."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query("runs_progress"), {"id": request, "silent": SILENT_S}).fetchall()
