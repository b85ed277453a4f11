"""`sonde-agent check …`: a task out of words on a command line, one run of it, and its report."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence

from sonde_agent import memory, report
from sonde_agent.checks import byhand_tunnel
from sonde_agent.checks.base import Check, CheckImpossible, Context
from sonde_agent.checks.byhand_endpoint import add_endpoints
from sonde_agent.checks.byhand_ping import add_ping
from sonde_agent.checks.byhand_throughput import add_throughput
from sonde_agent.checks.byhand_unlock import Watcher, add_unlock, limits_of
from sonde_agent.checks.byhand_words import Subparsers, UsageError, check_words
from sonde_agent.checks.kinds import KINDS
from sonde_agent.net.icmp import Engines
from sonde_agent.tunnel.helper_rules import Rules
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

OK, FAILED, USAGE = 0, 1, 2
_GRACE_S = 2.0  # the check's own deadline comes first: it knows the stage


def add_parsers(subparsers: Subparsers) -> None:
    """Add every kind to `sonde-agent check`; `check_kind` tells which was chosen, `make_task` its task."""
    for add in (add_ping, add_endpoints, add_throughput, add_unlock, byhand_tunnel.add_vpn):
        add(subparsers)


def parse(kind: str, argv: Sequence[str]) -> control_pb2.Task:
    """The task that `check KIND ARGV…` means; wrong usage ends the program as argparse does."""
    parser = argparse.ArgumentParser(prog="sonde-agent check")
    add_parsers(parser.add_subparsers(required=True))
    return task_from(parser.parse_args([kind, *argv]))


def task_from(args: argparse.Namespace) -> control_pb2.Task:
    """The task that was typed.

    Raises:
        UsageError: when it can't be run, saying what is wrong and how to write it.
    """
    check_words(args)
    task: control_pb2.Task = args.make_task(args)
    task.key = "by-hand"
    return byhand_tunnel.wrap(task, args) if vars(args).get("through") else task


def run_by_hand(args: argparse.Namespace) -> int:
    """Run what was typed, print its report (or JSON) to stdout; 0 ok, 1 failed, 2 wrong usage.

    No policy holds here: whoever can type the command may send the packets.
    """
    memory.keep_one_arena()
    try:
        task = task_from(args)
        results = asyncio.run(_run(task, args))
    except UsageError as error:
        for line in str(error).splitlines():
            print(f"sonde-agent check {args.check_kind}: {line}", file=sys.stderr)  # noqa: T201 - a command line
        return USAGE
    except CheckImpossible as error:
        print(f"sonde-agent check {args.check_kind}: {error}", file=sys.stderr)  # noqa: T201 - as above
        return FAILED
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    if args.json:
        told = report.to_json(results)
    else:
        told = report.render(task, results, color=color, limits=limits_of(args))
    print(told)  # noqa: T201 - as above
    return OK if results and all(map(report.succeeded, results)) else FAILED


async def _run(task: control_pb2.Task, args: argparse.Namespace) -> list[pb.Result]:
    kind = str(task.WhichOneof("spec"))
    progress = _progress()
    check: Check = KINDS[kind]
    engines = Engines()
    rules: Rules | None = vars(args).get("rules")
    tunnels = byhand_tunnel.tunnels_of(task, args, rules) if kind == "connection" else None
    watcher = Watcher(args)
    context = Context(
        icmp=engines,
        progress=progress,
        tunnels=tunnels,
        rules=byhand_tunnel.rules_of(args) if kind == "connection" else rules or Rules(),
        watch=watcher.take if watcher.wanted else None,
    )
    at_us = context.wall_us()
    try:
        async with asyncio.timeout(task.timeout_ms / 1000 + _GRACE_S):
            return await check.run(task, context)
    except TimeoutError:
        return [check.failed(task, pb.FAILURE_TIMEOUT, pb.STAGE_NONE, at_us)]
    finally:
        engines.close()
        if tunnels is not None:
            tunnels.close()
        context.progress("")
        watcher.finish()


def _progress() -> Callable[[str], None]:
    """Tell how far a run has come, on one line of a terminal that stands until the report."""
    if not sys.stderr.isatty():
        return lambda _line: None

    def tell(line: str) -> None:
        sys.stderr.write(f"\r\x1b[K{line}")
        sys.stderr.flush()

    return tell
