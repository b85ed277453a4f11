"""What every kind of `sonde-agent check …` shares: its parser, and what its words must satisfy."""

import argparse
import os
import re
from typing import TypeAlias

from sonde_proto import units

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 -- it has no other name

_LONGEST_S = 3600.0
_TIMES = ("spacing", "wait", "timeout", "max_total", "seconds")
_FILES = ("ca", "ca_file", "cert", "key", "pack", "through", "username_file", "password_file")


class UsageError(ValueError):
    """What was typed can't be run; the text is for a person, one line for each mistake."""


def seconds(text: str) -> float:
    """Be a type of argparse: "200ms", "10s"."""
    try:
        return units.parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def size(text: str) -> int:
    """Be a type of argparse: "1MiB", "2GB"."""
    try:
        return units.parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def pair(text: str) -> tuple[str, str]:
    """Be a type of argparse: "NAME=VALUE"."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=VALUE")
    return name, value


def add(
    subparsers: Subparsers, kind: str, what: str, about: str, example: str, *, many: bool = False
) -> argparse.ArgumentParser:
    """Add the parser of one kind, with what all have; `check_kind` tells which was chosen.

    Args:
        subparsers: where to.
        kind: the word after `check`.
        what: is measured, for its help.
        about: one line on it.
        example: of a whole command.
        many: several things may be measured at once, or none be named.
    """
    parser = subparsers.add_parser(kind, help=about, description=about, epilog=f"example: {example}")
    parser.add_argument("measured", metavar=what, nargs="*" if many else None)
    parser.add_argument("--family", type=int, choices=(4, 6), default=0, help="only this IP version")
    parser.add_argument("--json", action="store_true", help="the result for programs")
    account = parser.add_argument_group("through a tunnel (as root)")
    if kind != "vpn":
        account.add_argument("--through", default="", metavar="FILE", help="a .conf, .ovpn or .sswan profile")
    for option, secret in (("--username-file", "user name"), ("--password-file", "password")):
        account.add_argument(option, default="", metavar="FILE", help=f"holds the account's {secret}")
    parser.set_defaults(check_kind=kind)
    return parser


def _check_measured(measured: str | list[str]) -> None:
    for word in measured if isinstance(measured, list) else [measured]:
        if not word or not word.isprintable() or " " in word:
            raise UsageError(f"{word!a} is nothing that can be measured: give a name, an address or a URL")


def check_words(args: argparse.Namespace) -> None:
    """What every kind asks of its arguments: words of one line, bearable times, files that are there."""
    given = vars(args)
    _check_measured(args.measured)
    if args.check_kind == "http" and "@" in re.split("[/?#]", args.measured.partition("//")[2])[0]:
        raise UsageError(
            "the URL holds a user or password, which is not sent: use --header-file for credentials"
        )
    for option in ("method", "host", "sni"):
        word = given.get(option, "")
        if not word.isprintable() or " " in word or (option == "method" and word and not word.isalpha()):
            raise UsageError(f"--{option} {word!a}: must be one word")
    for option in _TIMES:
        if given.get(option, 0) > _LONGEST_S:
            raise UsageError(f"--{option.replace('_', '-')} must be at most 1h")
    if given.get("key") and not given.get("cert"):
        raise UsageError("--key needs --cert: the certificate that the key belongs to")
    files = [(option, given.get(option, "")) for option in _FILES]
    files += [("header-file", path) for _, path in given.get("header_file", [])]
    for option, path in files:
        if path and not (os.path.isfile(path) and os.access(path, os.R_OK)):  # noqa: PTH113 -- Path's raises
            raise UsageError(f"--{option.replace('_', '-')} {path}: no file that can be read")
