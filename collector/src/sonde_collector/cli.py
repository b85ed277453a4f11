"""argv to exit codes: 0 done, 1 failed, 2 bad usage or a file with mistakes. No traceback reaches a user."""

import argparse
import errno
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

import psycopg

from sonde_collector.app import StartError
from sonde_collector.commands import (
    answers,
    api_keys,
    archive,
    capacity,
    convert,
    credentials,
    fleet,
    health,
    inventory,
    keeping,
    notify,
    pki,
    query,
    rules,
    service,
    silence,
    sql,
    top,
    unlock,
)
from sonde_collector.commands.output import complain
from sonde_collector.commands.parsers import add_config
from sonde_collector.config import find_config, load_config
from sonde_collector.db.errors import DatabaseError
from sonde_collector.owner import become_owner
from sonde_collector.pki.authority import PkiError
from sonde_collector.pki.book import UnknownVantage
from sonde_proto.toml_config import ConfigError

DEBUG = "SONDE_DEBUG"
_EXAMPLES = """examples:
  sonde-collector serve --config collector.toml
  sonde-collector apply fleet.toml --dry-run
  sonde-collector status
  sonde-collector sql "SELECT count(*) FROM performance_logs"

`sonde-collector COMMAND --help` tells more."""


def parser() -> argparse.ArgumentParser:
    """Give the parser of all commands."""
    main_parser = argparse.ArgumentParser(
        prog="sonde-collector",
        description="Takes results from agents into PostgreSQL; keeps inventory and plans. Started by root, "
        "a command runs as the user whose the state directory is.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    main_parser.add_argument(
        "--version", action="version", version=f"sonde-collector {version('sonde-collector')}"
    )
    add_config(main_parser)
    commands = main_parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for group in (
        service,
        pki,
        inventory,
        fleet,
        credentials,
        top,
        sql,
        capacity,
        keeping,
        convert,
        api_keys,
        answers,
        unlock,
        notify,
        silence,
        query,
        archive,
        health,
        rules,
    ):
        group.register(commands)
    return main_parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code."""
    args = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _leave)
    became = ""
    try:
        config = None if args.standalone else load_config(find_config(args.config))
        became = become_owner(config.state_dir) if config else ""
        code: int = args.run(config, args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read us has enough; without this Python would complain when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        code = _explain(error)
        if became and os.strerror(errno.EACCES) in str(error):
            complain(f"sonde-collector: this ran as {became}, whose the state directory is")
    return code


def _explain(error: Exception) -> int:
    if isinstance(error, ConfigError):
        for line in str(error).splitlines():
            complain(f"sonde-collector: {line}")
        return 2
    if isinstance(error, DatabaseError | StartError | PkiError | UnknownVantage):
        complain(f"sonde-collector: {error}")
    elif isinstance(error, psycopg.Error):
        complain(f"sonde-collector: the database said: {' '.join(str(error).split())}")
    elif isinstance(error, OSError):
        complain(f"sonde-collector: {error.filename or ''}: {error.strerror or error}".replace(": : ", ": "))
    else:
        complain(
            f"sonde-collector: {type(error).__name__}: {error} (a mistake of ours; {DEBUG}=1 shows where)"
        )
    return 1


def _leave(number: int, _frame: object) -> NoReturn:
    """Let the embedded database be stopped in order when a command is ended."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
