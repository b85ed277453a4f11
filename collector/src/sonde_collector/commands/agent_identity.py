"""`agents token`, `revoke`, `unrevoke`: who may become an agent, and who may not be one any more."""

import argparse
import sys

from sonde_collector.commands.output import complain, say, say_json
from sonde_collector.commands.parsers import Subparsers, add, duration, printable
from sonde_collector.config import CollectorConfig
from sonde_collector.db.pool import open_database
from sonde_collector.pki import book
from sonde_collector.pki.authority import PkiError, names_of, read_certificates
from sonde_collector.pki.port import signer
from sonde_proto.enrolment import VANTAGE, Token, fingerprint
from sonde_proto.units import format_duration

_LONGEST_S = 7 * 86_400.0
_HOUR_S = 3600.0


def register(actions: Subparsers) -> None:
    """Add the parsers under `agents`."""
    make = add(
        actions, "token", token, "a token by which one agent enrols, once",
        detail="The database keeps its SHA-256. A new token voids an earlier one of the same vantage.",
        examples=(
            "sonde-collector agents token ams1",
            "sonde-collector agents token ams1 --for 15m > ams1.token",
            "sonde-collector agents token ams1 | ssh root@ams1.example.com \\",
            "    sonde-agent enroll --collector collector.example.com --token-file - --write",
        ),
    )  # fmt: skip
    make.add_argument("vantage", metavar="VANTAGE", help="its code in the fleet file")
    make.add_argument(
        "--for", dest="for_s", type=duration(1, _LONGEST_S), default=_HOUR_S, metavar="DURATION",
        help='how long it can be used: at most "7d" (default 1h)',
    )  # fmt: skip
    cut = add(
        actions, "revoke", revoke, "refuse every certificate and token that a vantage has by now",
        detail=(
            "Its streams end within seconds, on all collectors; what it measures waits on its host. A new "
            "token gives it a new certificate, which is accepted; the old ones stay refused."
        ),
        examples=('sonde-collector agents revoke ams1 --reason "host was broken into"',), json=False,
    )  # fmt: skip
    cut.add_argument("vantage", metavar="VANTAGE", help="its code")
    cut.add_argument(
        "--reason", type=printable, required=True, metavar="TEXT", help="told to its agent as well"
    )
    back = add(
        actions, "unrevoke", unrevoke, "accept again what was revoked",
        examples=("sonde-collector agents unrevoke ams1",), json=False,
    )  # fmt: skip
    back.add_argument("vantage", metavar="VANTAGE", help="its code")


def token(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Make a token and show it, once."""
    authority = signer(config.enroll)
    if authority is None:
        raise PkiError(
            "nobody can enrol here: `sonde-collector pki init` makes an authority, and prints the lines "
            "of [enroll]"
        )
    if not VANTAGE.fullmatch(args.vantage):
        raise book.UnknownVantage(f'"{args.vantage}" is no vantage\'s code')
    made = Token.new(args.vantage, authority.sha256)
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        expires = book.add_token(conn, made, args.for_s)
    if args.json:
        facts = {"vantage": made.vantage, "token": made.write(), "expires_at": expires}
        say_json(facts | {"ca_sha256": fingerprint(made.ca_sha256)})
        return 0
    say(made.write())
    if not sys.stdout.isatty():
        return 0
    complain(
        f'for vantage "{args.vantage}", once, within {format_duration(round(args.for_s))}. On its host:\n'
        f"  sonde-agent enroll --collector {_reached_at(config)} --token TOKEN --write"
    )
    return 0


def revoke(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Refuse a vantage's certificates."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        book.revoke(conn, args.vantage, args.reason)
    say(
        f"{args.vantage} is refused from now on; `sonde-collector agents token {args.vantage}` lets it "
        "enrol anew"
    )
    return 0


def unrevoke(config: CollectorConfig, args: argparse.Namespace) -> int:
    """Accept them again."""
    with (
        open_database(config.database.url, config.state_dir) as database,
        database.connect(autocommit=True) as conn,
    ):
        was = book.unrevoke(conn, args.vantage)
    if not was:
        complain(f"sonde-collector: nothing of {args.vantage} is revoked")
        return 1
    say(f"{args.vantage} is accepted again")
    return 0


def _reached_at(config: CollectorConfig) -> str:
    """Give where agents enrol, by the first name of the collector's certificate."""
    host, port = "HOST", config.enroll.listen.rpartition(":")[2]
    if (cert := config.grpc.tls_cert) is not None:
        host = next(iter(names_of(read_certificates(cert.read_bytes(), str(cert))[0])), host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
