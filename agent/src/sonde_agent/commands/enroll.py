"""`sonde-agent enroll` and `renew`: this host's key, and the certificates for it."""

import argparse
import os
import secrets
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import attrs

from sonde_agent import config
from sonde_agent.commands.output import say, say_json
from sonde_agent.identity import calls
from sonde_agent.identity.calls import Desk
from sonde_agent.identity.files import IdentityFiles
from sonde_agent.identity.requests import EnrolError
from sonde_agent.identity.terms import moment
from sonde_proto import toml_config
from sonde_proto.enrolment import Token

_LONGEST_TOKEN = 400


@attrs.frozen
class _Settings:
    """What enrolment reads of agent.toml; the rest may not be true yet: `[tls]` names what is made here."""

    vantage: Annotated[str, config.vantage_rule] | None = None
    state_dir: Annotated[Path, config.writable_directory] = Path("/var/lib/sonde-agent")
    proxy: Annotated[str, config.proxy_rule] = ""


def enroll(args: argparse.Namespace) -> int:
    """Get this host's first certificate, or one in place of what is there."""
    token = _token(args)
    try:
        config.split_address(args.collector)
    except ValueError as error:
        raise toml_config.ConfigError([f"--collector {error}"]) from None
    path = _path(args.config)
    document = _document(path) if path else {}
    settings = _settings(document, path)
    if settings.vantage is not None and settings.vantage != token.vantage:
        raise EnrolError(
            f'this token is for vantage "{token.vantage}", and {path} is of "{settings.vantage}"; '
            "nothing was sent"
        )
    files = IdentityFiles(settings.state_dir.absolute())
    until_us = calls.enroll(Desk(args.collector, settings.proxy), token, files)
    lines = files.lines(args.collector)
    written = path is not None and args.write and "tls" not in document
    if path is not None and written:
        _append(path, lines)
    if args.json:
        facts = {
            "vantage": token.vantage,
            "until": moment(until_us),
            "config": str(path) if written else None,
        }
        say_json(facts | {name: str(getattr(files, name)) for name in ("ca", "cert", "key")})
        return 0
    say(f"enrolled as {token.vantage}: {files.cert}, until {moment(until_us)}; a running agent renews it")
    if written:
        say(f"{path} has these lines now:\n\n{lines}")
    elif "tls" in document and document["tls"] == tomllib.loads(lines)["tls"]:
        say(f"{path} has its lines already")
    else:
        where = (
            f"{path} {'instead of its [tls]' if 'tls' in document else ''}".strip() if path else "agent.toml"
        )
        say(f"for {where}:\n\n{lines}")
    return 0


def renew(args: argparse.Namespace) -> int:
    """Renew the certificate now, or ask whether that could be done."""
    path = config.find(args.config)
    settings = config.load(path)
    if settings.tls is None or settings.tls.enroll is None:
        raise EnrolError(f"{path}: has no tls.enroll: its certificate is not of `sonde-agent enroll`")
    files = None if args.ask else IdentityFiles(settings.state_dir.absolute())
    desk = Desk(settings.tls.enroll, settings.proxy)
    until_us = calls.renew(desk, settings.vantage, settings.tls, files)
    say(f"{'it would be renewed; it holds' if args.ask else 'renewed'} until {moment(until_us)}")
    return 0


def _token(args: argparse.Namespace) -> Token:
    if args.token_file is None:
        text = args.token
    elif str(args.token_file) == "-":
        text = sys.stdin.read(_LONGEST_TOKEN)
    else:
        try:
            text = args.token_file.read_text(encoding="ascii", errors="replace")[:_LONGEST_TOKEN]
        except OSError as error:
            raise EnrolError(f"{args.token_file}: {error.strerror}") from None
    try:
        return Token.read(text)
    except ValueError as error:
        raise toml_config.ConfigError([f"the token {error}"]) from None


def _path(given: Path | None) -> Path | None:
    if given is not None:
        return given
    try:
        return config.find(None)
    except toml_config.ConfigError:
        return None


def _document(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise toml_config.ConfigError([error.strerror or str(error)], path) from None
    except ValueError as error:
        raise toml_config.ConfigError([f"is no TOML: {error}"], path) from None


def _settings(document: Mapping[str, Any], path: Path | None) -> _Settings:
    read = {field.name: document[field.name] for field in attrs.fields(_Settings) if field.name in document}
    try:
        return toml_config.parse(read, _Settings, path.absolute().parent if path else None)
    except toml_config.ConfigError as error:
        raise toml_config.ConfigError(error.messages, path) from None


def _append(path: Path, lines: str) -> None:
    """Add a table to agent.toml; whoever reads it meanwhile sees the old file or the new one."""
    text, stat = path.read_text(encoding="utf-8"), path.stat()
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    scratch.write_text(f"{text.rstrip()}\n\n{lines}\n", encoding="utf-8")
    scratch.chmod(stat.st_mode & 0o7777)
    if os.geteuid() == 0:
        os.chown(scratch, stat.st_uid, stat.st_gid)
    scratch.replace(path)
