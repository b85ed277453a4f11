"""A tunnel by a profile that a person names: `check vpn FILE`, and `--through FILE` of all others."""

import argparse
from pathlib import Path

from sonde_agent.checks.byhand_words import Subparsers, UsageError, add, seconds
from sonde_agent.report import THROUGH
from sonde_agent.tunnel import helper_rules
from sonde_agent.tunnel.client import Tunnels
from sonde_agent.tunnel.helper_request import read_within
from sonde_agent.tunnel.helper_rules import BY_HAND
from sonde_proto import profiles
from sonde_proto.v1 import control_pb2

_HANDSHAKE_S = 15.0
_EXIT_AND_END_S = 12.0  # asking for the exit, and the tunnel's end
_TRANSFER_MARGIN_S = 10.0
_SPACING_S, _WAIT_S, _PAYLOAD_BYTES = 0.2, 2.0, 16


def add_vpn(subparsers: Subparsers) -> None:
    """Add the parser of `vpn`."""
    parser = add(
        subparsers,
        "vpn",
        "FILE",
        "a tunnel by a profile (.conf, .ovpn, .sswan): stages, ping direct and through, exit, speed",
        "sonde-agent check vpn se-sto-wg-001.conf --exit-url http://ip.example.net/ "
        "--url http://files.example.net/1G",
    )
    parser.add_argument("--count", type=int, default=10, metavar="N", help="echoes (default %(default)s)")
    parser.add_argument("--ping", default="", metavar="HOST", help="ping it inside (default: the gateway)")
    parser.add_argument("--exit-url", default="", metavar="URL", help="http://, answers with one's address")
    parser.add_argument("--url", default="", metavar="URL", help="download it, again and again")
    parser.add_argument("--upload-url", default="", metavar="URL", help="upload to it (PUT)")
    parser.add_argument(
        "--seconds", type=seconds, default=8.0, metavar="TIME", help="of each direction (default 8s)"
    )
    parser.add_argument("--direct-speed", action="store_true", help="the same transfer without the tunnel")
    parser.add_argument(
        "--handshake-only", action="store_true", help="no tunnel, only a handshake: needs no root"
    )
    parser.add_argument(
        "--timeout", type=seconds, default=_HANDSHAKE_S, metavar="TIME", help="for the tunnel (default 15s)"
    )
    parser.set_defaults(make_task=_vpn)


def wrap(task: control_pb2.Task, args: argparse.Namespace) -> control_pb2.Task:
    """Give the task that runs `task` inside the tunnel of --through.

    Raises:
        UsageError: the profile can't be used.
    """
    inside = control_pb2.Task()
    inside.CopyFrom(task)
    wrapped = _task(args.through, _HANDSHAKE_S, args, control_pb2.ConnectionSpec(inside=[inside]))
    wrapped.key = THROUGH
    return wrapped


def tunnels_of(
    task: control_pb2.Task, args: argparse.Namespace, rules: helper_rules.Rules | None = None
) -> Tunnels:
    """Give where the tunnel of `task` comes from; `rules` hold what unlock checks inside need.

    Raises:
        UsageError: this user may open none.
    """
    given = [Path(path).resolve() if path else None for path in (args.username_file, args.password_file)]
    unlock = helper_rules.unlock_terms(rules) if rules is not None else ""
    tunnels = Tunnels.for_file(_file(args), username_file=given[0], password_file=given[1], unlock=unlock)
    if tunnels.lacks() and not task.connection.handshake_only:
        instead = "" if vars(args).get("through") else "; without it: --handshake-only"
        raise UsageError(f"PERMISSION: a tunnel by a file needs root{instead}")
    return tunnels


def rules_of(args: argparse.Namespace) -> helper_rules.Rules:
    """Give the rules for a handshake by the file."""
    username, password = (
        Path(path).resolve() if path else None for path in (args.username_file, args.password_file)
    )
    return helper_rules.by_hand(_file(args), username, password)


def _file(args: argparse.Namespace) -> Path:
    return Path(args.measured if args.check_kind == "vpn" else args.through).resolve()


def _vpn(args: argparse.Namespace) -> control_pb2.Task:
    if not 1 <= args.count <= 1000:  # noqa: PLR2004 -- as control.proto says
        raise UsageError(f"--count must be from 1 to 1000, not {args.count}")
    if args.seconds < 1:
        raise UsageError("--seconds must be at least 1s")
    if args.timeout <= 0:
        raise UsageError("--timeout must be more than 0")
    if args.exit_url and not args.exit_url.startswith("http://"):
        raise UsageError(f"--exit-url {args.exit_url}: must be an http:// URL")
    spec = control_pb2.ConnectionSpec(
        family=args.family,
        exit_url=args.exit_url,
        handshake_only=args.handshake_only,
        direct_throughput=args.direct_speed,
    )
    if not args.handshake_only:
        spec.inside.append(_echoes(args))
        if args.url or args.upload_url:
            spec.inside.append(_transfer(args))
    return _task(args.measured, args.timeout, args, spec)


def _echoes(args: argparse.Namespace) -> control_pb2.Task:
    ping = control_pb2.PingSpec(
        host=args.ping,
        count=args.count,
        spacing_ms=round(_SPACING_S * 1000),
        wait_ms=round(_WAIT_S * 1000),
        payload_bytes=_PAYLOAD_BYTES,
    )
    within_s = args.count * _SPACING_S + _WAIT_S + 5
    return control_pb2.Task(key="ping", target="by-hand", ping=ping, timeout_ms=round(within_s * 1000))


def _transfer(args: argparse.Namespace) -> control_pb2.Task:
    spec = control_pb2.ThroughputSpec(
        url=args.url,
        upload_url=args.upload_url,
        download=bool(args.url),
        upload=bool(args.upload_url),
        seconds=round(args.seconds),
    )
    within_s = 2 * args.seconds + _TRANSFER_MARGIN_S
    return control_pb2.Task(key="throughput", throughput=spec, timeout_ms=round(within_s * 1000))


def _task(
    name: str, handshake_s: float, args: argparse.Namespace, spec: control_pb2.ConnectionSpec
) -> control_pb2.Task:
    file = Path(name).resolve()
    try:
        profile = profiles.parse(file.name, read_within(file.parent, file.name, profiles.LARGEST))
    except profiles.ProfileError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror or error}") from None
    if _wants_password(profile) and not (args.password_file and (args.username_file or _named(profile))):
        raise UsageError(f"{name}: its account has a password: give --username-file and --password-file")
    spec.credential, spec.profile, spec.protocol = BY_HAND, file.name, profile.protocol
    spec.handshake_ms = round(handshake_s * 1000)
    inside_ms = sum(one.timeout_ms for one in spec.inside) * (2 if spec.direct_throughput else 1)
    timeout_ms = spec.handshake_ms + inside_ms + round(_EXIT_AND_END_S * 1000)
    return control_pb2.Task(key="by-hand", target=name, connection=spec, timeout_ms=timeout_ms)


def _named(profile: profiles.Profile) -> bool:
    """Tell whether the profile itself says who we are."""
    return isinstance(profile.settings, profiles.Ike) and bool(profile.settings.eap_id)


def _wants_password(profile: profiles.Profile) -> bool:
    settings = profile.settings
    return isinstance(settings, profiles.Ike) or (
        isinstance(settings, profiles.OpenVpn) and settings.wants_user_pass
    )
