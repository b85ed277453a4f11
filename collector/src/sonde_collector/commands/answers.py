"""`ranking` and `trend`: what the database says of servers over days."""

import argparse
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from sonde_collector.commands.output import ago, complain, number, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import Database, open_database
from sonde_collector.read import answers
from sonde_collector.read.ranges import STEPS, Kept, RangeError

Column = tuple[str, Callable[[dict[str, Any]], str]]
_TIMES = {"minute": "%Y-%m-%d %H:%M", "hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "month": "%Y-%m"}


def register(commands: Subparsers) -> None:
    """Add the parsers."""
    parser = add(
        commands, "ranking", ranking, "servers ranked by the last days",
        examples=(
            "sonde-collector ranking    the best 20 of all countries",
            "sonde-collector ranking DE --days 30",
            "sonde-collector ranking --provider acme --vantage ams1 --vantage nyc1 --limit 5 --json",
        ),
        detail=(
            "By whole percents of what uptime is at least (the lower end of Wilson's 95 % interval: few "
            "samples promise little), then mean download, then mean ping. Means go over vantages by their "
            "weights."
        ),
    )  # fmt: skip
    parser.add_argument("country", nargs="?", metavar="COUNTRY", help="two letters, such as DE; else all")
    parser.add_argument("--provider", metavar="KEY", help="servers of this provider")
    parser.add_argument("--protocol", metavar="NAME", help="servers that speak it, such as WireGuard")
    parser.add_argument(
        "--vantage", action="append", metavar="CODE", help="figures of this vantage alone; may be repeated"
    )
    _days(parser, 7)
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="so many rows (default 20)")
    parser = add(
        commands, "trend", trend, "one server over time",
        examples=(
            "sonde-collector trend acme-de-1    thirty days",
            "sonde-collector trend acme-de-1 --days 2 --step hour --vantage ams1",
            "sonde-collector trend acme-de-1 --days 730 --json",
            "sonde-collector trend acme-de-1 --until 2025-01-31 --days 2 --step hour",
        ),
        detail=(
            "Minutes and hours that have left the database come from the archive, which takes longer; days "
            "never leave."
        ),
    )  # fmt: skip
    parser.add_argument("server", metavar="SERVER", help="its key in fleet.toml")
    _days(parser, 30)
    parser.add_argument(
        "--until",
        type=_time,
        metavar="TIME",
        help="where the days end, such as 2026-01-31 (UTC; default now)",
    )
    parser.add_argument("--step", choices=STEPS, help="width of a bucket (default: what suits the days)")
    parser.add_argument("--vantage", metavar="CODE", help="as this vantage saw it")


def _days(parser: argparse.ArgumentParser, default: int) -> None:
    parser.add_argument(
        "--days", type=int, default=default, metavar="N", help=f"the last N days (default {default})"
    )


def _time(text: str) -> dt.datetime:
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'must be a day or a time such as "2026-01-31" or "2026-01-31T12:00", not "{text}"'
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=dt.UTC)


def ranking(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Show the ranking."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        try:
            rows = answers.ranking(
                conn,
                country=args.country,
                provider=args.provider,
                protocol=args.protocol,
                vantages=args.vantage,
                days=args.days,
                limit=args.limit,
            )
        except (answers.UnknownName, answers.BadArgument) as error:
            return _refuse(error)
    if args.json:
        say_json(rows)
    else:
        last = "day" if args.days == 1 else f"{args.days} days"
        _say(f"Servers by the last {last}", _RANKING, rows)
    return 0


def trend(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Show one server's buckets."""
    hi = args.until or dt.datetime.now(dt.UTC)
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        try:
            found = answers.trend(
                conn,
                server=args.server,
                lo=answers.days_before(hi, args.days),
                hi=hi,
                step=args.step,
                vantage=args.vantage,
                kept=Kept.by(config.retention),
                archive=partial(_archived, config, database),
            )
        except (answers.UnknownName, answers.BadArgument, RangeError) as error:
            return _refuse(error)
    if args.json:
        say_json({"server": args.server, "tier": found.tier, "step": found.step, "buckets": found.buckets})
    else:
        columns: tuple[Column, ...] = (
            (found.step, lambda row: row["at"].strftime(_TIMES[found.step])),
            *_TREND,
        )
        _say(f"{args.server} by the {found.step} (UTC)", columns, found.buckets)
    return 0


def _archived(
    config: CollectorConfig, database: Database, tier: str, values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """What has left the database. Its libraries take 100 MB, which most calls need not pay."""
    from sonde_collector.archive import engine, storage, trend  # noqa: PLC0415

    try:
        return trend.buckets(config, database, tier, values)
    except (engine.EngineError, storage.StorageError) as error:
        raise RangeError(f"the archive can't be read: {error}") from None


def _refuse(error: Exception) -> int:
    """What was asked for can't be: the same code as for a mistake in argv."""
    complain(f"sonde-collector: {error}")
    return 2


def _say(title: str, columns: Sequence[Column], rows: Sequence[dict[str, Any]]) -> None:
    cells = [[cell(row) for _, cell in columns] for row in rows]
    say_table([name for name, _ in columns], cells, title=title)


def _interval(row: dict[str, Any]) -> str:
    if row["uptime_pct"] is None:
        return "-"
    return f"{row['uptime_low_pct']:.1f} to {row['uptime_high_pct']:.1f}"


_RANKING: tuple[Column, ...] = (
    ("server", lambda row: row["server"]),
    ("provider", lambda row: row["provider"]),
    ("where", lambda row: f"{row['city']}, {row['country']}"),
    ("protocols", lambda row: ", ".join(row["protocols"])),
    ("up %", lambda row: number(row["uptime_pct"], 2)),
    ("95 %", _interval),
    ("down Mbit/s", lambda row: number(row["avg_download_mbps"], 1)),
    ("median", lambda row: number(row["median_download_mbps"], 1)),
    ("up Mbit/s", lambda row: number(row["avg_upload_mbps"], 1)),
    ("ping ms", lambda row: number(row["median_ping_ms"], 2)),
    ("runs", lambda row: str(row["sample_count"])),
    ("vantages", lambda row: str(row["vantages"])),
    ("unlocks", lambda row: ", ".join(row["platforms"])),
    ("last", lambda row: "-" if row["age_s"] is None else f"{ago(row['age_s'])} ago"),
)
_TREND: tuple[Column, ...] = (
    ("down Mbit/s", lambda row: number(row["avg_download_mbps"], 1)),
    ("median", lambda row: number(row["median_download_mbps"], 1)),
    ("up Mbit/s", lambda row: number(row["avg_upload_mbps"], 1)),
    ("ping ms", lambda row: number(row["p50_ping_ms"], 2)),
    ("p95", lambda row: number(row["p95_ping_ms"], 2)),
    ("up %", lambda row: number(row["uptime_pct"], 2)),
    ("runs", lambda row: str(row["sample_count"])),
    ("vantages", lambda row: str(row["vantages"])),
)
