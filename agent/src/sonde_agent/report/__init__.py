"""Results for human eyes, and for programs. **Pure**: text out, nothing printed."""

from collections.abc import Sequence

from sonde_agent.report import connection, endpoint, ping, throughput, unlock
from sonde_agent.report.plain import to_json
from sonde_agent.report.words import PLAIN, Paint
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

__all__ = ["THROUGH", "render", "succeeded", "to_json"]

THROUGH = "through"
"""The key of a task whose tunnel is a means and not what is measured."""


def succeeded(result: pb.Result) -> bool:
    """Whether a result is a success: as expected, connected, transferred, a verdict, or an answer to ping."""
    if result.HasField("endpoint"):
        return result.endpoint.ok
    if result.HasField("unlock"):
        return unlock.said_something(result.unlock)
    row = result.performance
    return not row.failure and bool(row.received or row.connection_success or row.engine)


def render(
    task: control_pb2.Task, results: Sequence[pb.Result], *, color: bool, limits: unlock.Limits | None = None
) -> str:
    """The report of one run by hand: several lines, without a final newline.

    Args:
        task: what was run.
        results: what it gave.
        color: for a terminal.
        limits: what the evidence of unlock rules can and can't show.
    """
    paint: Paint = (lambda text, code: f"{code}{text}{PLAIN}") if color else (lambda text, _code: text)
    if task.HasField("connection"):
        return _through(task, results, paint, limits or {})
    return _direct(task, results, paint, limits or {})


def _direct(task: control_pb2.Task, results: Sequence[pb.Result], paint: Paint, limits: unlock.Limits) -> str:
    if task.HasField("unlock"):
        return unlock.render([result.unlock for result in results], limits, paint)
    if task.HasField("endpoint"):
        return endpoint.render(task.endpoint, [result.endpoint for result in results], paint)
    if task.HasField("throughput"):
        spec = task.throughput
        what = spec.url or spec.upload_url or spec.server
        return "\n\n".join(throughput.render(what, result.performance, paint) for result in results)
    return "\n\n".join(ping.render(task.ping.host, result.performance, paint) for result in results)


def _through(
    task: control_pb2.Task, results: Sequence[pb.Result], paint: Paint, limits: unlock.Limits
) -> str:
    """Tell of a tunnel as such, or of the one check inside it that was asked for."""
    row, inside = results[0].performance, task.connection.inside
    if task.key != THROUGH or (row.failure and not row.connection_success):
        return connection.render(task.target, row, paint)
    head = f"{connection.heading(task.target, row, paint)}, {connection.verdict(row, paint)}"
    alone = inside[0].HasField("ping") or inside[0].HasField("throughput")  # in the tunnel's own row
    shown = results if alone else results[1:]
    return f"{head}\n\n{_direct(inside[0], shown, paint, limits)}"
