"""A write before its transaction. **Pure**: no socket, clock or SQL."""

from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sonde_collector.db.copy import Texts
from sonde_collector.ingest.arrival import Arrival
from sonde_collector.ingest.judge import Verdict, judge
from sonde_collector.ingest.merge import Rows, merge, strings
from sonde_collector.ingest.settings import IngestSettings


@frozen(eq=False)
class Prepared:
    """Rows merged, in order of time and judged: once, however often the transaction is tried."""

    arrivals: Sequence[Arrival]
    received_at_us: NDArray[np.int64]
    strings: Sequence[str]
    texts: Texts
    parts: Sequence[tuple[Rows, Verdict]]


def prepare(arrivals: Sequence[Arrival], settings: IngestSettings) -> Prepared:
    """Merges and judges the rows of a write."""
    words = strings(arrivals)
    received = np.array([arrival.received_at_us for arrival in arrivals], np.int64)
    retention_us = int(settings.retention_s * 1e6)
    tables = [rows.in_time_order() for rows in merge(arrivals)]
    parts = [(rows, judge(rows, words, received, retention_us=retention_us)) for rows in tables]
    return Prepared(arrivals, received, words, Texts(words), parts)
