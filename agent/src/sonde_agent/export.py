"""Local history as a file: CSV or JSON lines with nothing installed, Parquet and DuckDB with their libraries.

One table: where a result stands (stream, seq), what it is (`result`), and the fields of all kinds side by
side; a field that two kinds share means the same in both. Enumerations and quality bits are lower-case words,
times are UTC.
"""

import csv
import datetime as dt
import importlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from sonde_agent.spool.history import Kept
from sonde_proto import columns
from sonde_proto.quality import words

Row = dict[str, Any]

_CHUNK_ROWS = 10_000  # at once in memory: an export must fit beside a running agent
_F = FieldDescriptor
_SQL_TYPES = {
    _F.TYPE_FLOAT: "REAL",
    _F.TYPE_BOOL: "BOOLEAN",
    _F.TYPE_ENUM: "VARCHAR",
    _F.TYPE_UINT32: "BIGINT",
    _F.TYPE_INT64: "BIGINT",
    _F.TYPE_UINT64: "BIGINT",
    _F.TYPE_STRING: "VARCHAR",
}


class ExportError(Exception):
    """The file can't be written; the message says what to do."""


def _columns() -> dict[str, str]:
    """Column -> its SQL type."""
    found = {
        "stream": "VARCHAR",
        "seq": "BIGINT",
        "acked": "BOOLEAN",
        "quarantined": "VARCHAR",
        "measured_at": "TIMESTAMP",
        "target": "VARCHAR",
        "result": "VARCHAR",
    }
    for row, _ in columns.KINDS.values():
        found |= {field.name: _SQL_TYPES[field.type] for field in row.DESCRIPTOR.fields}
    return found | {"quality": "VARCHAR"}


COLUMNS: Mapping[str, str] = _columns()


_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def export(rows: Iterable[Kept], to: Path) -> int:
    """Write `rows` to the file `to`, whose ending names the format; give how many there were.

    The file appears when it is complete, and replaces one of the same name.

    Raises:
        ExportError: the ending is unknown, a library is missing, or the file can't be written.
    """
    write = _WRITERS.get(to.suffix)
    if write is None:
        raise ExportError(f"{to}: the name must end in {', '.join(_WRITERS)}")
    part = to.with_name(f"{to.name}.part")
    try:
        count = write((flat(kept) for kept in rows), part)
        part.rename(to)
    except OSError as error:
        raise ExportError(f"{to}: can't be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)
    return count


def flat(kept: Kept) -> Row:
    """Give one result as a row; what was not measured is left out. Pure."""
    result = kept.result
    name = result.WhichOneof("payload") or ""
    row: Row = {
        "stream": kept.epoch.hex(),
        "seq": kept.seq,
        "acked": kept.acked,
        "quarantined": kept.quarantined or None,
        "measured_at": _EPOCH + dt.timedelta(microseconds=result.measured_at_us),
        "target": result.target or None,
        "result": name or None,
    }
    for field, value in getattr(result, name).ListFields() if name else ():
        row[field.name] = _word(field, value) if field.enum_type is not None else value
    if "quality" in row:
        row["quality"] = words(row["quality"])
    return row


def _word(field: Any, number: int) -> str:
    """Give FAILURE_NO_ADDRESS as "no_address": the values of an enum begin with its own name."""
    value = field.enum_type.values_by_number.get(number)
    if value is None:
        return str(number)
    prefix = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", field.enum_type.name).upper() + "_"
    return str(value.name.removeprefix(prefix).lower())


def _csv(rows: Iterable[Row], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.DictWriter(file, COLUMNS)
        out.writeheader()
        for count, row in enumerate(rows, 1):  # noqa: B007 -- the last one is how many there were
            out.writerow({key: _text(value) for key, value in row.items()})
    return count


def _jsonl(rows: Iterable[Row], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for count, row in enumerate(rows, 1):  # noqa: B007 -- as above
            held = {key: value for key, value in row.items() if value is not None}
            file.write(json.dumps(held, default=_text, ensure_ascii=False) + "\n")
    return count


def _text(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ", timespec="microseconds")
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


def _parquet(rows: Iterable[Row], path: Path) -> int:
    try:
        pa = importlib.import_module("pyarrow")  # an extra, and 50 MB
        pq = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ExportError(
            "Parquet needs pyarrow: install sonde-agent[export], or write .csv or .jsonl"
        ) from None
    types = {
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
        "REAL": pa.float32(),
        "BOOLEAN": pa.bool_(),
        "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    }
    schema = pa.schema([(name, types[kind]) for name, kind in COLUMNS.items()])
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as out:
        for chunk in _chunks(rows):
            out.write_table(pa.Table.from_pylist(chunk, schema=schema))
            count += len(chunk)
    return count


def _duckdb(rows: Iterable[Row], path: Path) -> int:
    try:
        duckdb = importlib.import_module("duckdb")  # an extra, and 40 MB
    except ImportError:
        raise ExportError(
            "DuckDB needs the duckdb package: install it, or write .parquet, .csv or .jsonl"
        ) from None
    # DuckDB reads a CSV hundreds of times faster than it takes rows one by one.
    rows_file = path.with_name(f"{path.name}.csv")
    path.unlink(missing_ok=True)
    try:
        count = _csv(rows, rows_file)
        with duckdb.connect(str(path)) as db:
            db.execute(
                "CREATE TABLE results AS SELECT * FROM read_csv(?, header = true, nullstr = '', columns = ?)",
                [str(rows_file), dict(COLUMNS)],
            )
    except duckdb.Error as error:
        raise ExportError(f"{path}: DuckDB says: {error}") from error
    finally:
        rows_file.unlink(missing_ok=True)
    return count


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, _CHUNK_ROWS)):
        yield chunk


_WRITERS: Mapping[str, Callable[[Iterable[Row], Path], int]] = {
    ".parquet": _parquet,
    ".duckdb": _duckdb,
    ".csv": _csv,
    ".jsonl": _jsonl,
}
