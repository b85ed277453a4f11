"""`pki`: the authority that agents and collector trust, and the collector's own certificate."""

import argparse
import datetime as dt
import socket
import tomllib
from importlib import resources
from pathlib import Path

from cryptography.hazmat.primitives import hashes

from sonde_collector.commands.output import say, say_json
from sonde_collector.commands.parsers import Subparsers, add_config, add_standalone
from sonde_collector.config import find_config, load_config
from sonde_collector.pki import authority as pki
from sonde_collector.pki import settings
from sonde_collector.pki.folder import Folder
from sonde_proto.enrolment import fingerprint
from sonde_proto.toml_config import ConfigError
from sonde_proto.toml_edit import write_whole

_PLACE = Path("/etc/sonde/collector.toml")


def register(commands: Subparsers) -> None:
    """Add the parsers."""
    parser = add_standalone(
        commands, "pki", show, "the authority that signs agents' certificates, and the collector's own",
        examples=(
            "sonde-collector pki init --name collector.example.com --write",
            "sonde-collector pki init --dir pki --ca-cert ca.pem --ca-key ca.key --address 192.0.2.1",
            "sonde-collector pki show",
            "sonde-collector pki renew --name collector.example.com    before its certificate ends",
        ),
        detail=(
            "With --dir no collector.toml is needed. Keys and certificates are files of mode 0600; as root "
            "they are made for the owner of the folder above."
        ),
    )  # fmt: skip
    actions = parser.add_subparsers(title="commands", metavar="COMMAND")
    make = add_standalone(
        actions, "init", init, "make what is missing; what is there is never overwritten",
        examples=(
            "sonde-collector pki init --name collector.example.com --address 192.0.2.1",
            "sonde-collector pki init --name collector.example.com --write    and collector.toml with it",
        ),
    )  # fmt: skip
    make.add_argument(
        "--write", action="store_true",
        help=f"put its lines into collector.toml; where there is none, make {_PLACE}",
    )  # fmt: skip
    make.add_argument("--ca-cert", type=Path, metavar="FILE", help="bring an authority: its certificate, PEM")
    make.add_argument(
        "--ca-key", type=Path, metavar="FILE", help="and its key, not encrypted; both are copied"
    )
    again = add_standalone(
        actions, "renew", renew, "make the collector's certificate and key anew",
        detail="A collector that runs takes them up by itself; agents notice nothing.",
        examples=("sonde-collector pki renew --name collector.example.com",),
    )  # fmt: skip
    look = add_standalone(
        actions, "show", show, "fingerprint, names and ends", examples=("sonde-collector pki show --json",)
    )
    for each in (parser, make, again, look):
        default = None if each is parser else argparse.SUPPRESS
        each.add_argument(
            "--dir", type=Path, metavar="DIR", default=default, help="where (default: state_dir/pki)"
        )
        add_config(each, default=argparse.SUPPRESS)
    for each in (make, again):
        for option, what in (("--name", "a host name"), ("--address", "an address")):
            each.add_argument(
                option, action="append", dest="names", metavar=option[2:].upper(),
                help=f"{what} by which agents reach the collector; may be given often (default: this host's)",
            )  # fmt: skip


def init(args: argparse.Namespace) -> int:
    """Make it."""
    if args.write:
        return _init_and_write(args)
    _make(_folder(args), args)
    return _show(_folder(args), json=args.json)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(["is no UTF-8 text, so no TOML"], path) from None


def _init_and_write(args: argparse.Namespace) -> int:
    path = _config_place(args)
    if path.exists():
        folder, text = _folder(args), _text(path)
    else:
        text = resources.files("sonde_collector").joinpath("collector.template.toml").read_text("utf-8")
        state_dir = path.absolute().parent / tomllib.loads(text)["state_dir"]
        folder = Folder((args.dir or state_dir / "pki").absolute())
    text = settings.written_into(text, folder, path)  # whether it can be, before anything is made
    _make(folder, args)
    write_whole(path, text)
    if not args.json:
        said = tomllib.loads(text)
        say(
            f"wrote {path}: agents connect to {', '.join(said['grpc']['listen'])}, and enrol at "
            f"{said['enroll']['listen']}\n"
        )
    return _show(folder, json=args.json, lines=False)


def _make(folder: Folder, args: argparse.Namespace) -> None:
    own = None
    if (args.ca_cert is None) != (args.ca_key is None):
        raise pki.PkiError("--ca-cert and --ca-key go together")
    if args.ca_cert is not None:
        own = (args.ca_cert, args.ca_key)
    made = folder.init(_names(args), own, f"Sonde authority of {socket.gethostname()}"[:64])
    if not args.json:
        for path in (folder.ca_key, folder.ca_cert, folder.key, folder.cert):
            say(f"{'made' if path in made else 'kept'} {path}")
        held = pki.names_of(folder.certificate())
        if args.names and folder.cert not in made and set(args.names) - set(held):
            say(f"{folder.cert} is for {', '.join(held)}: `sonde-collector pki renew --name …` makes another")
        say()


def renew(args: argparse.Namespace) -> int:
    """Make the collector's certificate anew."""
    folder = _folder(args)
    names = args.names or pki.names_of(folder.certificate()) or _names(args)
    folder.renew(names)
    return _show(folder, json=args.json)


def show(args: argparse.Namespace) -> int:
    """Say what is there."""
    return _show(_folder(args), json=args.json)


def _show(folder: Folder, *, json: bool, lines: bool = True) -> int:
    if not folder.ca_cert.exists():
        raise pki.PkiError(f"there is no authority in {folder.path}: `sonde-collector pki init` makes one")
    authority = pki.read_certificates(folder.ca_cert.read_bytes(), str(folder.ca_cert))[0]
    certificate = folder.certificate()
    sha256 = fingerprint(authority.fingerprint(hashes.SHA256()))
    names = pki.names_of(certificate)
    if json:
        say_json(
            {
                "dir": str(folder.path),
                "ca_sha256": sha256,
                "ca_subject": authority.subject.rfc4514_string(),
                "ca_not_after": authority.not_valid_after_utc,
                "names": names,
                "not_after": certificate.not_valid_after_utc,
            }
        )
        return 0
    say(f"authority   {authority.subject.rfc4514_string()}, until {authority.not_valid_after_utc:%Y-%m-%d}")
    say(f"            SHA-256 {sha256}")
    days = (certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)).days
    say(f"collector   {', '.join(names)}, until {certificate.not_valid_after_utc:%Y-%m-%d} ({days} days)")
    if lines:
        say(f"\nFor collector.toml:\n\n{settings.as_text(folder).rstrip()}")
    return 0


def _folder(args: argparse.Namespace) -> Folder:
    if args.dir is not None:
        return Folder(args.dir.absolute())
    return Folder(load_config(find_config(args.config)).state_dir / "pki")


def _config_place(args: argparse.Namespace) -> Path:
    try:
        return find_config(args.config)
    except ConfigError:  # there is none: the one that the service reads
        return _PLACE


def _names(args: argparse.Namespace) -> list[str]:
    here = [socket.getfqdn(), socket.gethostname(), "localhost", "127.0.0.1", "::1"]
    return list(dict.fromkeys(args.names or here))
