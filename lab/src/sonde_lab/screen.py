"""The demo's view of the database, for human eyes. **Pure**: from a view to what is printed."""

from datetime import datetime

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sonde_lab.watch import Endpoint, Ping, View


def picture(view: View, *, seconds: float, rows_per_s: float) -> RenderableType:
    """Return both tables and a line about the flow, for a terminal."""
    return Group(_pings(view), _endpoints(view), Text(flow(view, seconds=seconds, rows_per_s=rows_per_s)))


def flow(view: View, *, seconds: float, rows_per_s: float) -> str:
    """Return one line: how long, how many rows, how fast, how fresh."""
    newest = view.newest
    fresh = (
        f"newest result measured {(view.now - newest).total_seconds():.1f} s ago"
        if newest
        else "no result yet"
    )
    rejected = f" · {view.rejected} rejected" if view.rejected else ""
    return f"{seconds:.0f} s · {view.rows} rows in PostgreSQL · {rows_per_s:.1f} rows/s · {fresh}{rejected}"


def _pings(view: View) -> Table:
    table = Table(
        title="ping (ms): table performance_logs",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("vantage", "server"):
        table.add_column(heading)
    for heading in ("RTT", "jitter", "loss %"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for heading in ("rows", "age s"):
        table.add_column(heading, justify="right")
    for line in view.pings:
        table.add_row(
            line.vantage,
            line.target,
            _number(line.ping_ms, 3),
            _number(line.jitter_ms, 3),
            _number(line.packet_loss_pct, 0),
            _verdict(line, "ok"),
            str(line.rows),
            _age(view.now, line.measured_at),
        )
    return table


def _endpoints(view: View) -> Table:
    table = Table(
        title="endpoint (ms): table sonde.endpoint_checks",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("vantage", "target", "address"):
        table.add_column(heading)
    for heading in ("connect", "TLS", "1st byte", "total"):
        table.add_column(heading, justify="right")
    for heading in ("verdict", "PoP", "cache"):
        table.add_column(heading)
    for heading in ("rows", "age s"):
        table.add_column(heading, justify="right")
    for line in view.endpoints:
        table.add_row(
            line.vantage,
            line.target,
            line.address or "",
            _number(line.connect_ms, 2),
            _number(line.tls_ms, 2),
            _number(line.first_byte_ms, 2),
            _number(line.total_ms, 2),
            _verdict(line, str(line.status or "ok")),
            line.pop or "",
            line.cache_status or "",
            str(line.rows),
            _age(view.now, line.measured_at),
        )
    return table


def _verdict(line: Ping | Endpoint, good: str) -> Text:
    if line.failure in (None, "none"):
        return Text(good, style="green")
    stage = f" ({line.stage})" if line.stage not in (None, "none") else ""
    return Text(f"{line.failure}{stage}", style="red")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _age(now: datetime, then: datetime) -> str:
    return f"{max(0.0, (now - then).total_seconds()):.1f}"
