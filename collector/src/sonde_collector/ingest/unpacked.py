"""How large a batch is once each of its results stands alone. **Pure**.

On the wire a text stands once in the batch's dictionary, in the database once for each result that names it:
without a bound a message of a few megabytes would become many gigabytes of rows.
"""

from collections.abc import Sequence

import numpy as np

from sonde_proto.columns import FIELDS, Table

_TEXTS = {kind: [field.name for field in fields if field.is_text] for kind, fields in FIELDS.items()}

# Below this the most it can be is good enough, and costs nothing to know. [characters]
_SMALL = 64 << 10


def texts(tables: Sequence[Table], strings: Sequence[str]) -> int:
    """Give the characters of all texts of all results, or a little more."""
    if not strings:
        return 0
    lengths = list(map(len, strings))
    columns = [
        codes
        for table in tables
        if len(table)
        for codes in (table.target, *(table.columns[name] for name in _TEXTS[table.kind]))
        if codes is not None
    ]
    most = max(lengths) * sum(map(len, columns))
    if most <= _SMALL:
        return most
    each = np.array(lengths, np.int64)
    return sum(int(each.take(np.asarray(codes), mode="clip").sum()) for codes in columns)
