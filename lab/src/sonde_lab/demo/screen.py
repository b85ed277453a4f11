"""The demo's view of the database, for human eyes. **Pure**: from a view to what is printed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich import box
from rich.table import Table
from rich.text import Text

from sonde_lab.demo.watch import Count, Endpoint, Ping, Tunnel, View
from sonde_lab.demo.webhook import Heard


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


def pings(view: View) -> Table:
    """Give the newest ping of each vantage and server."""
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


def endpoints(view: View) -> Table:
    """Give the newest endpoint check of each vantage, target and address."""
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


@dataclass(frozen=True, slots=True)
class Truth:
    """What is true of one server as one vantage should see it.

    Attributes:
        rtt_ms: there and back, as the delay line recorded it.
        loss_pct: of echoes [%].
        rate_mbps: of the link, all headers counted.
        connect_rtts: round trips from start to connected, by its protocol.
    """

    rtt_ms: float
    loss_pct: float
    rate_mbps: float
    connect_rtts: int


def tunnels(view: View, truth: Callable[[Tunnel], Truth | None]) -> Table:
    """Give every server's tunnel from each vantage, the lab's truth beside what was measured."""
    table = Table(
        title="VPN servers through their tunnels, truth|measured: table performance_logs",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for heading in ("server", "from"):
        table.add_column(heading, no_wrap=True)
    for heading in ("RTT ms", "loss %", "Mbit/s|down/up", "connect ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict")
    table.add_column("runs", justify="right", no_wrap=True)
    for line in view.tunnels:
        true = truth(line)
        speed = f"{_number(line.download_mbps, 1) or '-'}/{_number(line.upload_mbps, 1) or '-'}"
        table.add_row(
            line.target,
            line.vantage,
            _beside(true.rtt_ms if true else None, line.ping_ms, 2),
            _beside(true.loss_pct if true else None, line.loss_pct, 1),
            f"{_number(true.rate_mbps, 1) if true else '?'}|{speed}",
            _beside(true.rtt_ms * true.connect_rtts if true else None, line.connection_time_ms, 1),
            _verdict(line, "ok"),
            f"{line.connected}/{line.rows}",
        )
    return table


def summary(counts: Sequence[Count], config: str) -> str:
    """Give the closing words: rows per agent and table, and how to look around."""
    lines = [f"  {count.vantage:<6} {count.table:<24} {count.rows:>7} rows" for count in counts]
    return "\n".join(
        (
            "In PostgreSQL from this run:",
            *(lines or ["  nothing"]),
            "Look around:",
            f'  .venv/bin/sonde-collector sql --config {config} "TABLE sonde.endpoint_checks LIMIT 5"',
            f"  .venv/bin/sonde-collector status --config {config}",
        )
    )


def heard(notices: Sequence[Heard]) -> str:
    """Give what the webhook was told, a line each."""
    lines = [
        f"  {one.at:%H:%M:%S}  {one.notice.get('severity', '')}: {one.notice.get('detail', '')}"
        for one in notices
    ]
    return "\n".join(("What the webhook heard:", *(lines or ["  nothing"])))


def _beside(true: float | None, measured: float | None, digits: int) -> str:
    return f"{_number(true, digits) or '?'}|{_number(measured, digits) or '-'}"


def _verdict(line: Ping | Endpoint | Tunnel, good: str) -> Text:
    if line.failure in (None, "none"):
        return Text(good, style="green")
    stage = f" ({line.stage})" if line.stage not in (None, "none") else ""
    return Text(f"{line.failure}{stage}", style="red")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _age(now: datetime, then: datetime) -> str:
    return f"{max(0.0, (now - then).total_seconds()):.1f}"
