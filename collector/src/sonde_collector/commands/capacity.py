"""`capacity`: what every table takes and will take, and when the disk ends."""

import argparse
import datetime as dt
import math
from pathlib import Path
from typing import Any

from sonde_collector.commands.output import number, say, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import open_database
from sonde_collector.keeping import capacity, measure
from sonde_collector.keeping.capacity import FAR_DAYS, ROUGH_ROWS, YEAR_DAYS, Flow
from sonde_collector.keeping.measure import Free, Reading
from sonde_proto.units import format_size

_HEADERS = (
    "tier",
    "table",
    "rows",
    "size",
    "bytes/row",
    "rows/day",
    "by plans",
    "per day",
    "per year",
    "kept days",
    "at most",
)
_SURE_DAYS = 1.0


def register(commands: Subparsers) -> None:
    """Add the parser."""
    parser = add(
        commands, "capacity", run, "what every table takes and will take, and when the disk ends",
        examples=(
            "sonde-collector capacity",
            "sonde-collector capacity --disk /var/lib/postgresql    where the data is not known",
            "sonde-collector capacity --json | jq .days_left",
        ),
        detail=(
            "Bytes of a row are measured on this database, indexes included; rows a day are those of the "
            "last week, and beside them those that the present plans bring where every run is made. What "
            "ends by [retention] goes by whole partitions: at most, one more than its days. WAL and archive "
            "files are not in it."
        ),
    )  # fmt: skip
    parser.add_argument("--disk", type=Path, metavar="PATH", help="a path on the file system of the data")


def run(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Measure and reckon."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        reading, flows = measure.reckon(config, conn)
        free = measure.free(config, conn, args.disk)
    if args.json:
        say_json(as_json(reading, flows, free))
        return 0
    say_table(_HEADERS, [_row(flow) for flow in flows])
    say()
    for line in _summary(reading, flows, free):
        say(line)
    return 0


def as_json(reading: Reading, flows: list[Flow], free: Free) -> dict[str, Any]:
    """Give all figures, for programs: bytes, rows, days; null = not known, and no end."""
    return {
        "measured_days": reading.days,
        "database_bytes": reading.database_bytes,
        "other_bytes": reading.other_bytes,
        "wal_bytes": reading.wal_bytes,
        "free_bytes": free.bytes,
        "disk": free.where,
        "days_left": {name: _left(flows, free, planned=planned) for name, planned in _BASES},
        "not_known": capacity.unknown(flows, planned=False),
        "tables": [
            {
                "tier": flow.measured.table.tier,
                "table": flow.measured.table.name,
                "rows": flow.measured.rows,
                "bytes": flow.measured.bytes,
                "row_bytes": flow.row_bytes,
                "kept_days": flow.kept_days,
                "age_days": flow.measured.age_days,
                **{
                    name: {
                        "rows_per_day": flow.rows_per_day(planned=planned),
                        "bytes_per_day": flow.bytes_per_day(planned=planned),
                        "steady_bytes": flow.steady_bytes(planned=planned),
                    }
                    for name, planned in _BASES
                },
            }
            for flow in flows
        ],
    }


_BASES = (("measured", False), ("planned", True))


def _left(flows: list[Flow], free: Free, *, planned: bool) -> float | None:
    if free.bytes is None:
        return None
    days = capacity.days_left(flows, free.bytes, planned=planned)
    return None if math.isinf(days) else days


def _row(flow: Flow) -> tuple[str, ...]:
    daily = flow.bytes_per_day(planned=False)
    most = flow.steady_bytes(planned=False)
    rough = "~" if flow.row_bytes is not None and flow.measured.rows < ROUGH_ROWS else ""
    return (
        flow.measured.table.tier,
        flow.measured.table.name.removeprefix("public."),
        str(flow.measured.rows),
        format_size(flow.measured.bytes),
        rough + number(flow.row_bytes),
        number(flow.measured.per_day),
        number(flow.planned),
        _size(daily),
        _size(None if daily is None else daily * YEAR_DAYS),
        "for ever" if flow.kept_days is None else number(flow.kept_days),
        "-" if most is None else format_size(round(most)),
    )


def _size(count: float | None) -> str:
    return "-" if count is None else format_size(round(count))


def _summary(reading: Reading, flows: list[Flow], free: Free) -> list[str]:
    whole, other, wal = map(format_size, (reading.database_bytes, reading.other_bytes, reading.wal_bytes))
    lines = [
        f"database: {whole}, of it {other} that does not grow with time; beside it WAL, up to {wal} or so",
        _sure(reading),
    ]
    for name, planned in (("as measured", False), ("by the plans", True)):
        daily = sum(flow.bytes_per_day(planned=planned) or 0.0 for flow in flows)
        in_a_year = capacity.size_after(flows, YEAR_DAYS, planned=planned) + reading.other_bytes
        if not daily:
            lines.append(f"{name}: not known yet")
            continue
        lines.append(
            f"{name}: {format_size(round(daily))} a day now, {format_size(round(in_a_year))} in a year; "
            + _end(flows, free, planned=planned)
        )
    if lacking := capacity.unknown(flows, planned=True):
        lines.append(f"too few rows to know what one takes, and not in it: {', '.join(lacking)}")
    where = f" where {free.where} is" if free.bytes is not None else ""
    size = free.where if free.bytes is None else f"{format_size(free.bytes)} free{where}"
    return [*lines, f"disk: {size}"]


def _sure(reading: Reading) -> str:
    if not reading.days:
        return "no results yet: sizes and rates are not known"
    days = f"{reading.days:.1f} days" if reading.days >= _SURE_DAYS else f"{reading.days * 24:.1f} hours"
    rough = "" if reading.days >= _SURE_DAYS else ", less than a day: a rough guess"
    return f"measured over {days} of results{rough}"


def _end(flows: list[Flow], free: Free, *, planned: bool) -> str:
    if free.bytes is None:
        return "when the disk ends is not known"
    days = capacity.days_left(flows, free.bytes, planned=planned)
    if days > FAR_DAYS:
        return "the disk does not end"
    on = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    return f"the disk is full in {days:.0f} days, on {on:%Y-%m-%d}"
