"""Results for tests that do not care what was measured."""

from sonde_proto.v1 import results_pb2

START_US = 1_790_000_000_000_000


def result(number: int, target: str = "srv") -> results_pb2.Result:
    """A ping result that carries its number in `ping_ms`."""
    return results_pb2.Result(
        measured_at_us=START_US + number * 1000,
        target=target,
        performance=results_pb2.Performance(ping_ms=float(number), sent=10, received=10),
    )


def number(result: results_pb2.Result) -> int:
    """The number that `result` was made with."""
    return int(result.performance.ping_ms)
