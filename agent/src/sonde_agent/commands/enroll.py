"""`sonde-agent enroll` and `renew`: this host's key, and the certificates for it."""

import argparse
import errno
import os
import sys
import tomllib
from collections.abc import Mapping
from importlib import resources
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
from sonde_proto.toml_edit import with_values, write_whole

_LONGEST_TOKEN = 400
_PLACE = Path("/etc/sonde/agent.toml")
_RESULTS, _ENROLMENT = 7443, 7444  # the collector's ports, where nothing else is said


@attrs.frozen
class _Settings:
    """What enrolment reads of agent.toml; the rest may not be true yet: `[tls]` names what is made here."""

    vantage: Annotated[str, config.vantage_rule] | None = None
    state_dir: Annotated[Path, config.writable_directory] = Path("/var/lib/sonde-agent")
    proxy: Annotated[str, config.proxy_rule] = ""


def enroll(args: argparse.Namespace) -> int:
    """Get this host's first certificate, or one in place of what is there."""
    token = _token(args)
    desk = _address(args.collector)
    path = _path(args.config, write=args.write)
    is_new = args.write and path is not None and not path.exists()
    text = _new(desk, token.vantage) if is_new else _text(path)
    document = _document(text, path)
    settings = _settings(document, path)
    if settings.vantage is not None and settings.vantage != token.vantage:
        raise EnrolError(
            f'this token is for vantage "{token.vantage}", and {path} is of "{settings.vantage}"; '
            "nothing was sent"
        )
    files = IdentityFiles(settings.state_dir.absolute())
    write_to = path if args.write and "tls" not in document else None
    if write_to is not None:  # whether it can be, before the token is used up
        text = _with_tls(text, files, desk, write_to)
    until_us = calls.enroll(Desk(desk, settings.proxy), token, files)
    if write_to is not None:
        write_whole(write_to, text)
    if args.json:
        facts = {
            "vantage": token.vantage,
            "until": moment(until_us),
            "config": str(write_to) if write_to else None,
        }
        say_json(facts | {name: str(getattr(files, name)) for name in ("ca", "cert", "key")})
        return 0
    say(f"enrolled as {token.vantage}: {files.cert}, until {moment(until_us)}; a running agent renews it")
    lines = files.lines(desk)
    if write_to is not None:
        say(f"{path} {'is made of the template, with' if is_new else 'has'} these lines now:\n\n{lines}")
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


def _address(given: str) -> str:
    """Give host and port of enrolment; the port may be left out."""
    try:
        config.split_address(given)
    except ValueError as error:
        address = f"[{given}]:{_ENROLMENT}" if given.count(":") > 1 else f"{given}:{_ENROLMENT}"
        try:
            config.split_address(address)
        except ValueError:
            raise toml_config.ConfigError([f"--collector {error}"]) from None
        return address
    return given


def _path(given: Path | None, *, write: bool) -> Path | None:
    """Give agent.toml, the one that the service reads where there is none yet and it shall be written."""
    if given is not None:
        return given
    try:
        return config.find(None)
    except toml_config.ConfigError:
        return _PLACE if write else None


def _new(desk: str, vantage: str) -> str:
    """Give an agent.toml for a host that has none: the template, with its collector and vantage."""
    template = resources.files("sonde_agent").joinpath("agent.template.toml").read_text(encoding="utf-8")
    host = desk.rpartition(":")[0]
    return with_values(template, "", {"collector": f"{host}:{_RESULTS}", "vantage": vantage})


def _text(path: Path | None) -> str:
    try:
        return path.read_text(encoding="utf-8-sig") if path else ""
    except OSError as error:
        raise toml_config.ConfigError([error.strerror or str(error)], path) from None
    except UnicodeDecodeError:
        raise toml_config.ConfigError(["is no UTF-8 text, so no TOML"], path) from None


def _document(text: str, path: Path | None) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise toml_config.ConfigError([f"is no TOML: {error}"], path) from None


def _with_tls(text: str, files: IdentityFiles, desk: str, path: Path) -> str:
    """Give agent.toml with its new table, once it is certain that it can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise EnrolError(f"{path} can't be written: {error.strerror}; nothing was sent") from None
    return with_values(text, "tls", files.values(desk))


def _settings(document: Mapping[str, Any], path: Path | None) -> _Settings:
    read = {field.name: document[field.name] for field in attrs.fields(_Settings) if field.name in document}
    try:
        return toml_config.parse(read, _Settings, path.absolute().parent if path else None)
    except toml_config.ConfigError as error:
        raise toml_config.ConfigError(error.messages, path) from None
