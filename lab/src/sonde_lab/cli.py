"""The command line: `sonde-lab up|exec|truth|down|demo`."""

import argparse
import json
import os
import sys
from pathlib import Path

from sonde_lab import truth
from sonde_lab.lab import Lab
from sonde_lab.programs import LabError
from sonde_lab.topology import MOST_VANTAGES

_DIR = Path("var/lab")


def main() -> int:
    """Return the exit code: 0 ok, 1 failed, 2 bad usage; `exec` returns the program's."""
    parser = argparse.ArgumentParser(
        prog="sonde-lab",
        description="Sonde on one machine, to look at and to play with.",
        epilog="example: sonde-lab demo --seconds 60",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_up(commands)
    _add_exec(commands)
    _add_truth(commands)
    _add_down(commands)
    given = parser.parse_args()
    try:
        return int(given.run(given))
    except BrokenPipeError:  # the reader of our output went away (head, less)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except LabError as error:
        print(error, file=sys.stderr)
        return 1


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    show = commands.add_parser(
        "demo",
        help="run the whole pipeline here and show what arrives",
        description="Start a virtual internet with VPN servers, an embedded PostgreSQL, a collector and two "
        "agents; show what is measured beside what is true. An ordinary user gets direct checks instead. "
        "Ctrl-C ends it. Exit 0 only if every agent's results arrived.",
        epilog="example: sonde-lab demo --seconds 60 --dir /tmp/demo",
    )
    show.add_argument(
        "--seconds", type=_seconds, metavar="N", help="end after N seconds (default: at Ctrl-C)"
    )
    show.add_argument(
        "--dir", type=Path, default=Path("var/demo"), metavar="DIR", help="its files (default: var/demo)"
    )
    show.add_argument(
        "--direct",
        action="store_true",
        help="without VPN servers: loopback addresses, pinged and asked directly",
    )
    show.set_defaults(run=_demo)


def _add_up(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    up = commands.add_parser(
        "up",
        help="start a virtual internet with VPN servers",
        description="Start namespaces with vantages, VPN servers of three protocols and what stands behind "
        "them, in the background; profiles as a provider gives them are in DIR/profiles. "
        "`sonde-lab down` ends it.",
        epilog="example: sonde-lab up && sonde-lab exec ams -- ping -c 3 192.0.2.11",
    )
    up.add_argument(
        "--vantages",
        type=int,
        default=2,
        choices=range(1, MOST_VANTAGES + 1),
        metavar="N",
        help=f"1 to {MOST_VANTAGES} (default: 2: ams and nyc)",
    )
    up.add_argument("--no-faults", action="store_true", help="without the servers that misbehave")
    _add_dir(up)
    up.set_defaults(run=_up)


def _add_exec(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    run = commands.add_parser(
        "exec",
        help="run a program at a vantage of the lab",
        description="Run a program in the lab's namespaces, at a vantage or at another of its places: core, "
        "origin, faults, or a server's key. The exit code is the program's.",
        epilog="example: sonde-lab exec ams -- sonde-agent check ping 192.0.2.11",
    )
    run.add_argument("vantage", metavar="VANTAGE", help="ams, nyc, or another place's name")
    run.add_argument("program", nargs="+", metavar="PROGRAM", help="and its arguments, after --")
    _add_dir(run)
    run.set_defaults(run=_exec)


def _add_truth(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    show = commands.add_parser(
        "truth",
        help="show what is true of the lab",
        description="Show each server's delay, loss, rate and exit address; --json also shows what the "
        "delay lines recorded, which echoes were lost, and what the provider saw of its accounts.",
        epilog="example: sonde-lab truth --json | jq '.servers[] | {key, rtt_ms, line}'",
    )
    show.add_argument("--json", action="store_true", help="all of it, for programs")
    _add_dir(show)
    show.set_defaults(run=_truth)


def _add_down(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    down = commands.add_parser(
        "down",
        help="end the virtual internet",
        description="End the lab and remove its files but the logs. Nothing happens when none is up.",
        epilog="example: sonde-lab down --dir /tmp/lab",
    )
    _add_dir(down)
    down.set_defaults(run=_down)


def _add_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dir", type=Path, default=_DIR, metavar="DIR", help=f"the lab's files (default: {_DIR})"
    )


def _demo(given: argparse.Namespace) -> int:
    from sonde_lab import demo  # noqa: PLC0415 -- PostgreSQL's client and tables cost `exec` a quarter of a second

    return demo.run(given.dir, given.seconds, direct=given.direct)


def _up(given: argparse.Namespace) -> int:
    lab = Lab.up(given.dir, given.vantages, faults=not given.no_faults, background=True)
    print(f"up: vantages {', '.join(lab.vantages)}; profiles in {given.dir / 'profiles'}")
    print("try: sonde-lab truth; sonde-lab exec ams -- ping -c 3 192.0.2.11; sonde-lab down")
    if os.geteuid() != 0:
        print("no tunnel opens in an ordinary user's lab, only handshakes (--handshake-only): run it as root")
    return 0


def _exec(given: argparse.Namespace) -> int:
    lab = _found(given.dir)
    lab.netns(given.vantage)
    command = lab.command(given.vantage, given.program)
    os.execv(command[0], command)  # noqa: S606 -- the caller's own program


def _truth(given: argparse.Namespace) -> int:
    found = _found(given.dir).truth()
    print(json.dumps(found, indent=2) if given.json else truth.table(found))
    return 0


def _down(given: argparse.Namespace) -> int:
    lab = Lab.find(given.dir)
    if lab is None:
        print(f"no lab is up in {given.dir}")
    else:
        lab.down()
        print("down")
    return 0


def _found(folder: Path) -> Lab:
    lab = Lab.find(folder)
    if lab is None:
        raise LabError(f"no lab is up in {folder}: start it with `sonde-lab up`")
    return lab


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 1e6:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f'must be a number of seconds from 1 to 1000000, not "{text}"')
    return seconds
