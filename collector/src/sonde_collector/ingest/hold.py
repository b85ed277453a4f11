"""Which performance results wait for a judgement instead of entering the ranking, and why. **Pure.**"""

import numpy as np
from numpy.typing import NDArray

from sonde_collector.ingest.merge import Rows
from sonde_proto.quality import Quality
from sonde_proto.v1 import results_pb2

BECAUSE = ("vantage not ready", "credential refused")
"""What `held_because` says, by code."""

_NOT_READY, _CREDENTIAL = range(2)
_NOT_HELD = -1


def because(rows: Rows) -> NDArray[np.int8]:
    """Gives per row the code of why it is held, an index into `BECAUSE`; -1 = it is not.

    An unready vantage goes first: what it says of a credential is as doubtful as the rest.

    Args:
        rows: of performance.
    """
    codes = np.full(len(rows), _NOT_HELD, np.int8)
    failure, credential = rows.columns["failure"], rows.columns["credential"]
    if failure is not None and credential is not None:
        codes[(failure == results_pb2.FAILURE_AUTH) & (credential >= 0)] = _CREDENTIAL
    quality = rows.columns["quality"]
    if quality is not None:
        codes[(quality > 0) & (quality.astype(np.int32) & Quality.NOT_READY != 0)] = _NOT_READY
    return codes


def evidence(rows: Rows) -> NDArray[np.bool_]:
    """Marks the rows by which held ones may have to be judged: a credential was refused, or let in.

    Args:
        rows: of performance, of one table.
    """
    success, credential = rows.columns["connection_success"], rows.columns["credential"]
    let_in = np.zeros(len(rows), np.bool_)
    if success is not None and credential is not None:
        let_in = (success == 1) & (credential >= 0)
    marked: NDArray[np.bool_] = let_in | (because(rows) == _CREDENTIAL)
    return marked
