"""The command `sonde-agent`: argv to exit codes. 0 ok, 1 failed, 2 bad usage or configuration.

Each command imports what it needs when it runs: `check` starts fast, and `run` carries no parser of reports.
"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from sonde_agent import VERSION

OK, FAILED, USAGE = 0, 1, 2

_RUN_EXAMPLES = """\
examples:
  sonde-agent run --config /etc/sonde/agent.toml
  sonde-agent run --template > agent.toml     a commented configuration to begin with
  sonde-agent run --check-config              tell the mistakes of agent.toml; exit 2 if any
"""
_CHECK_EXAMPLES = """\
examples:
  sonde-agent check ping 192.0.2.1 --count 20
  sonde-agent check http https://www.example.com/
  sonde-agent check tls mail.example.com:993 --json
  sonde-agent check vpn se-sto-wg-001.conf --exit-url http://ip.example.com/
  sonde-agent check http https://www.example.com/ --through se-sto-wg-001.conf
  sonde-agent check unlock netflix disney-plus --through se-sto-wg-001.conf
"""
_SPOOL_EXAMPLES = """\
examples:
  sonde-agent spool                 what waits here; also beside a running agent
  sonde-agent spool --json
  sonde-agent spool --new-stream    after "copied spool": go on as a new stream (stop the agent first)
"""
_DOCTOR_EXAMPLES = """\
examples:
  sonde-agent doctor
  sonde-agent doctor --config /etc/sonde/agent.toml --json
"""
_EXPORT_EXAMPLES = """\
examples:
  sonde-agent export --to history.csv
  sonde-agent export --to history.parquet --since 24h
"""


_HELPER_EXAMPLES = """\
examples:
  sonde-agent tunnel-helper --config /etc/sonde/agent.toml --socket /run/sonde/helper.sock --user sonde
  a systemd socket unit may start it instead: without --socket it takes the socket that systemd passes
"""

_ENROLL_EXAMPLES = """\
examples:
  sonde-agent enroll --collector collector.example.com --token-file - --write     and agent.toml with it
  sonde-agent enroll --collector collector.example.com:7444 --token TOKEN --config agent.toml
  TOKEN is what `sonde-collector agents token VANTAGE` prints: good for one enrolment of that vantage
"""
_RENEW_EXAMPLES = """\
examples:
  sonde-agent renew          a running agent does so by itself, when a third of the certificate's life is left
  sonde-agent renew --ask    only ask whether the collector would
"""
_INSTALL_EXAMPLES = """\
examples:
  /opt/sonde/bin/sonde-agent install-service
  /opt/sonde/bin/sonde-agent install-service --uninstall
  sonde-agent install-service --dry-run
"""

_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 -- it has no other name
_OUTPUT_FAILED = (errno.ENOSPC, errno.EIO, errno.EDQUOT)


def main(argv: Sequence[str] | None = None) -> int:
    """Run `argv`; give the exit code. No traceback reaches a user unless $SONDE_DEBUG asks for it."""
    argv = sys.argv[1:] if argv is None else list(argv)
    # gRPC's C core writes to stderr of its own accord; what matters of it, the agent logs.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        args = _parser(wants_check="check" in argv).parse_args(argv)
        code: int = args.command(args)
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells count
    except BrokenPipeError:
        # The reader of our output went away (head, less): nothing more to say, also not at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:  # noqa: BLE001 -- the last place that can turn it into one line
        return _report(error)
    return code


def _report(error: BaseException) -> int:
    from sonde_agent.log import debug  # noqa: PLC0415 -- lazy, as all below
    from sonde_proto.toml_config import ConfigError  # noqa: PLC0415

    if debug():
        raise error
    while isinstance(error, BaseExceptionGroup):  # of the service's task group: its first cause
        error = error.exceptions[0]
    if isinstance(error, ConfigError):
        _complain(str(error))
        return USAGE
    if isinstance(error, OSError) and error.filename is None and error.errno in _OUTPUT_FAILED:
        _complain(f"can't write the output: {error.strerror}")
        return FAILED
    if type(error).__name__ in (
        "SpoolError",
        "ExportError",
        "EnrolError",
    ):  # by name: importing them costs what they need
        _complain(str(error))
        return FAILED
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    at = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    _complain(f"unexpected error, a defect of ours: {type(error).__name__}: {error}{at}")
    _complain("SONDE_DEBUG=1 shows more; please report it")
    return FAILED


def _complain(text: str) -> None:
    for line in text.splitlines() or [""]:
        print(f"sonde-agent: {line}", file=sys.stderr)


def _parser(*, wants_check: bool) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sonde-agent",
        description="Measures servers and endpoints from this host, and keeps every result until it is safe.",
        epilog="sonde-agent COMMAND --help shows examples.",
    )
    parser.add_argument("--version", action="version", version=f"sonde-agent {VERSION}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    run = _command(commands, "run", "be the agent: the service", _RUN_EXAMPLES)
    _config_option(run)
    only = run.add_mutually_exclusive_group()
    only.add_argument("--template", action="store_true", help="print a commented agent.toml and end")
    only.add_argument("--check-config", action="store_true", help="only read agent.toml, tell its mistakes")
    run.set_defaults(command=_run)

    check = _command(commands, "check", "measure once, by hand, without a collector", _CHECK_EXAMPLES)
    check.set_defaults(command=_check)
    if wants_check:
        from sonde_agent.checks.byhand import add_parsers  # noqa: PLC0415

        add_parsers(check.add_subparsers(metavar="KIND", required=True))

    spool = _command(commands, "spool", "what waits to be sent", _SPOOL_EXAMPLES)
    _config_option(spool)
    spool.add_argument("--json", action="store_true", help="for programs")
    spool.add_argument(
        "--new-stream", action="store_true", help="keep what is here aside, begin a new stream"
    )
    spool.set_defaults(command=_spool)

    doctor = _command(commands, "doctor", "what this host lacks, and how to mend it", _DOCTOR_EXAMPLES)
    _config_option(doctor)
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(command=_doctor)

    export = _command(commands, "export", "local history to a file", _EXPORT_EXAMPLES)
    _config_option(export)
    export.add_argument("--to", type=Path, required=True, metavar="FILE", help=".parquet .duckdb .csv .jsonl")
    export.add_argument("--since", metavar="TIME", help='only what was measured in the last "24h"')
    export.add_argument("--json", action="store_true", help="for programs")
    export.set_defaults(command=_export)

    _add_identity(commands)
    _add_host(commands)
    return parser


def _add_identity(commands: _Commands) -> None:
    enroll = _command(commands, "enroll", "make a key here and get its certificate", _ENROLL_EXAMPLES)
    _config_option(enroll)
    enroll.add_argument(
        "--collector",
        required=True,
        metavar="HOST[:PORT]",
        help="the collector, and its enrolment port ([enroll] listen) where that is not 7444",
    )
    given = enroll.add_mutually_exclusive_group(required=True)
    given.add_argument("--token", metavar="TOKEN", help="it shows in the list of processes meanwhile")
    given.add_argument(
        "--token-file", type=Path, metavar="FILE", help='a file that holds it; "-": standard input'
    )
    enroll.add_argument(
        "--write",
        action="store_true",
        help="add [tls] to agent.toml, unless it has one; make it, where there is none",
    )
    enroll.add_argument("--json", action="store_true", help="for programs")
    enroll.set_defaults(command=_enroll)

    renew = _command(commands, "renew", "get the certificate's successor now", _RENEW_EXAMPLES)
    _config_option(renew)
    renew.add_argument("--ask", action="store_true", help="change nothing")
    renew.set_defaults(command=_renew)


def _add_host(commands: _Commands) -> None:
    helper = _command(commands, "tunnel-helper", "open tunnels for the agent, as root", _HELPER_EXAMPLES)
    _config_option(helper)
    helper.add_argument("--user", default="root", metavar="NAME", help="the agent's, besides root")
    helper.add_argument("--socket", default="", metavar="PATH", help="listen there (else systemd's socket)")
    helper.add_argument("--fd", type=int, help=argparse.SUPPRESS)  # from an agent that runs as root
    for option in ("--profile", "--username-file", "--password-file"):
        helper.add_argument(option, type=Path, help=argparse.SUPPRESS)  # as above, for one run by hand
    helper.add_argument("--unlock", default="", help=argparse.SUPPRESS)  # as above: where its rules are
    helper.set_defaults(command=_tunnel_helper)
    install = _command(
        commands, "install-service", "systemd units, for a host without our package", _INSTALL_EXAMPLES
    )
    install.add_argument("--dry-run", action="store_true", help="print the files and write nothing")
    install.add_argument("--uninstall", action="store_true", help="stop the units and remove the files")
    install.add_argument(
        "--root", type=Path, metavar="FOLDER", help="into an image: write, and start nothing"
    )
    install.set_defaults(command=_install_service)
    # Started by the helper, inside a tunnel; nothing that a person could use, so it has no help line.
    commands.add_parser("box").set_defaults(command=_box)


def _command(commands: _Commands, name: str, about: str, examples: str) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _config_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="agent.toml (else $SONDE_AGENT_CONFIG, ./agent.toml, /etc/sonde/agent.toml)",
    )


def _run(args: argparse.Namespace) -> int:
    from sonde_agent.commands import service  # noqa: PLC0415

    return service.run(args)


def _check(args: argparse.Namespace) -> int:
    from sonde_agent.checks.byhand import run_by_hand  # noqa: PLC0415

    return run_by_hand(args)


def _spool(args: argparse.Namespace) -> int:
    from sonde_agent.commands import spool  # noqa: PLC0415

    return spool.run(args)


def _doctor(args: argparse.Namespace) -> int:
    from sonde_agent.commands import doctor  # noqa: PLC0415

    return doctor.run(args)


def _export(args: argparse.Namespace) -> int:
    from sonde_agent.commands import export  # noqa: PLC0415

    return export.run(args)


def _enroll(args: argparse.Namespace) -> int:
    from sonde_agent.commands import enroll  # noqa: PLC0415

    return enroll.enroll(args)


def _renew(args: argparse.Namespace) -> int:
    from sonde_agent.commands import enroll  # noqa: PLC0415

    return enroll.renew(args)


def _install_service(args: argparse.Namespace) -> int:
    from sonde_agent.commands import install_service  # noqa: PLC0415

    return install_service.run(args)


def _tunnel_helper(args: argparse.Namespace) -> int:
    from sonde_agent.tunnel import service  # noqa: PLC0415

    return service.run(args)


def _box(_args: argparse.Namespace) -> int:
    from sonde_agent.tunnel import box  # noqa: PLC0415

    return box.main()


if __name__ == "__main__":
    sys.exit(main())
