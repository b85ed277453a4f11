"""`sonde-agent check ping`: its words, and the task that they mean."""

import argparse

from sonde_agent.checks.byhand_words import Subparsers, UsageError, add, seconds
from sonde_proto.v1 import control_pb2

_RESOLVE_WITHIN_S = 5


def add_ping(subparsers: Subparsers) -> None:
    """Add the parser."""
    parser = add(
        subparsers,
        "ping",
        "HOST",
        "echoes to a host: loss, round trip times, jitter",
        "sonde-agent check ping 192.0.2.7 --count 20 --spacing 200ms",
    )
    parser.set_defaults(make_task=_task)
    parser.add_argument(
        "--count", type=int, default=10, metavar="N", help="echoes to send (default %(default)s)"
    )
    parser.add_argument(
        "--spacing", type=seconds, default=0.2, metavar="TIME", help="between echoes (default 200ms)"
    )
    parser.add_argument(
        "--wait", type=seconds, default=2.0, metavar="TIME", help="a later reply is lost (default 2s)"
    )
    parser.add_argument(
        "--payload", type=int, default=16, metavar="BYTES", help="ICMP payload (default %(default)s)"
    )


def _task(args: argparse.Namespace) -> control_pb2.Task:
    limits = {"count": (args.count, 1, 1000), "payload": (args.payload, 16, 1400)}
    for name, (value, least, most) in limits.items():
        if not least <= value <= most:
            raise UsageError(f"--{name} must be from {least} to {most}, not {value}")
    if args.spacing < 0.01:  # noqa: PLR2004 - as control.proto says
        raise UsageError("--spacing must be at least 10ms")
    if args.wait <= 0:
        raise UsageError("--wait must be more than 0")
    spec = control_pb2.PingSpec(
        host=args.measured,
        family=args.family,
        count=args.count,
        spacing_ms=round(args.spacing * 1000),
        wait_ms=max(round(args.wait * 1000), 1),
        payload_bytes=args.payload,
    )
    timeout_s = args.count * args.spacing + args.wait + _RESOLVE_WITHIN_S
    return control_pb2.Task(target=args.measured, ping=spec, timeout_ms=round(timeout_s * 1000))
