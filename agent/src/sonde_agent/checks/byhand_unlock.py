"""`sonde-agent check unlock`: its words, the rules that it finds, and who watches the exchanges."""

import argparse
import json
import os
import sys
import threading
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve

from sonde_agent import config
from sonde_agent.checks.base import CheckImpossible
from sonde_agent.checks.byhand_words import Subparsers, UsageError, add
from sonde_agent.checks.unlock.check import NO_EXTRA
from sonde_agent.checks.unlock.packs import NoPack, open_pack
from sonde_agent.config import PolicyRules, Unlock
from sonde_agent.report.unlock import Limits
from sonde_agent.tunnel.helper_rules import Rules
from sonde_proto import toml_config
from sonde_proto.v1 import control_pb2

if TYPE_CHECKING:
    from sonde_unlock.pack import Pack

RECORDING = "unlock-exchanges/1"
_ROUND_S, _AT_ONCE, _MOST_S = 60, 8, 600
_OWN_TABLES = ("unlock", "policy")


def add_unlock(subparsers: Subparsers) -> None:
    """Add the parser."""
    parser = add(
        subparsers,
        "unlock",
        "SLUG",
        "what a streaming platform makes of this exit, and why: by the rules of a signed pack",
        "sonde-agent check unlock netflix disney-plus --through se-sto-wg-001.conf",
        many=True,
    )
    parser.add_argument("--all", action="store_true", help="every rule of the pack")
    parser.add_argument("--trace", action="store_true", help="show each exchange on stderr, scrubbed")
    parser.add_argument(
        "--record", default="", metavar="FILE", help="write the exchanges there, for `rules record`"
    )
    rules = parser.add_argument_group("rules (else as agent.toml says, where there is one)")
    rules.add_argument("--config", type=Path, metavar="FILE", help="agent.toml")
    rules.add_argument("--pack", default="", metavar="FILE", help="the pack of rules")
    rules.add_argument(
        "--rule-key",
        action="append",
        default=[],
        metavar="KEY",
        help="believe packs signed by it (ed25519:…)",
    )
    rules.add_argument("--unsigned", action="store_true", help="believe the pack whoever wrote it")
    rules.add_argument("--secrets", default="", metavar="DIR", help="files SLUG.NAME of rules' secrets")
    rules.add_argument(
        "--ca-file", default="", metavar="FILE", help="PEM of authorities besides the system's"
    )
    rules.add_argument(
        "--trusted-resolver", metavar="ADDRESS", help='asked by DNS over TLS for `via`; "" = nobody is'
    )
    rules.add_argument("--trusted-resolver-name", metavar="NAME", help="what its certificate is for")
    parser.set_defaults(make_task=_task)


def rules_of(args: argparse.Namespace) -> Rules:
    """Give what unlock checks need: agent.toml where one is found, and over it what was typed.

    Raises:
        UsageError: something typed can't be used.
        ConfigError: agent.toml can't be used.
    """
    rules = _from_config(args.config)
    typed: dict[str, Any] = {"unlock": {}, "policy": {}}
    for option in ("pack", "secrets", "ca_file", "trusted_resolver", "trusted_resolver_name"):
        value = getattr(args, option)
        if value or (value == "" and option == "trusted_resolver"):
            is_path = not option.startswith("trusted")
            typed["unlock"][option] = str(Path(value).absolute()) if is_path else value
    if args.rule_key:
        typed["policy"]["rule_keys"] = args.rule_key
    try:
        unlock = toml_config.parse(typed["unlock"], Unlock)
        keys = toml_config.parse(typed["policy"], PolicyRules).rule_keys
    except toml_config.ConfigError as error:
        lines = [
            f"--{message.replace('_', '-', 1).replace('rule-keys', 'rule-key')}" for message in error.messages
        ]
        raise UsageError("\n".join(lines)) from None
    given = {name: getattr(unlock, name) for name in typed["unlock"]}
    policy = evolve(rules.policy, rule_keys=keys) if keys else rules.policy
    return evolve(rules, unlock=evolve(rules.unlock, **given), policy=policy, unsigned=args.unsigned)


def _from_config(given: Path | None) -> Rules:
    """Give the tables that concern unlock checks; what else is in the file is the agent's business."""
    try:
        path = config.find(given)
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (toml_config.ConfigError, PermissionError, FileNotFoundError):
        if given is not None:
            raise UsageError(f"--config {given}: no file that can be read") from None
        return Rules()
    except ValueError as error:
        raise UsageError(f"{path}: is not TOML: {error}") from None
    ours = {key: value for key, value in document.items() if key in _OWN_TABLES}
    return toml_config.parse(ours, Rules, path.absolute().parent)


def _task(args: argparse.Namespace) -> control_pb2.Task:
    args.rules = rules = rules_of(args)
    if bool(args.measured) == args.all:
        raise UsageError(
            "give the slugs of rules, or --all" if args.all is False else "give slugs or --all, not both"
        )
    if args.record and not os.access(Path(args.record).absolute().parent, os.W_OK | os.X_OK):
        raise UsageError(f"--record {args.record}: its folder can't be written to")
    pack = _open(rules)
    slugs = sorted(pack.rules) if args.all else list(dict.fromkeys(args.measured))
    if unknown := [slug for slug in slugs if slug not in pack.rules]:
        raise UsageError(
            f"pack {pack.version} has no rule {unknown[0]}; it has {', '.join(sorted(pack.rules))}"
        )
    args.limits = {
        slug: (pack.rules[slug].evidence.shows, pack.rules[slug].evidence.cannot_show) for slug in slugs
    }
    spec = control_pb2.UnlockSpec(
        rules=[control_pb2.UnlockRule(slug=slug) for slug in slugs], families=[args.family or 4]
    )
    rounds = -(-len(slugs) // _AT_ONCE)
    timeout_ms = min(_ROUND_S * rounds, _MOST_S) * 1000
    return control_pb2.Task(unlock=spec, timeout_ms=timeout_ms)


def _open(rules: Rules) -> "Pack":
    try:
        return open_pack(rules.unlock.pack, rules.policy.rule_keys, unsigned=rules.unsigned)
    except ImportError as error:
        raise CheckImpossible(f"{NO_EXTRA} ({error})") from None
    except NoPack as none:
        if not (rules.policy.rule_keys or rules.unsigned):
            how = ": give --rule-key KEY, or --unsigned"
        else:
            how = "" if rules.unlock.pack.exists() else ": give --pack FILE"
        raise UsageError(f"{none}{how}") from None


def limits_of(args: argparse.Namespace) -> Limits:
    """Give what the evidence of the rules that were asked can and can't show."""
    limits: Limits = vars(args).get("limits", {})
    return limits


class Watcher:
    """Keeps the exchanges of a run for who watches it.

    Args:
        args: of which `trace` and `record` are asked.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        given = vars(args)
        self._record = Path(given["record"]) if given.get("record") else None
        self.wanted = bool(given.get("trace")) or self._record is not None
        self._trace = bool(given.get("trace"))
        self._lock = threading.Lock()
        self._told: list[Mapping[str, Any]] = []

    def take(self, told: Mapping[str, Any]) -> None:
        """Keep one exchange; any thread may call it."""
        with self._lock:
            self._told.append(told)

    def finish(self) -> None:
        """Show the trace on stderr, and write the recording, readable by its owner alone."""
        ordered = sorted(self._told, key=lambda told: (told["slug"], told["family"], told["pinned"]))
        if self._trace:
            from sonde_agent.checks.unlock.watched import line  # noqa: PLC0415 -- only agents with the extra

            for told in ordered:
                again = ", trusted answers" if told["pinned"] else ""
                sys.stderr.write(f"{told['slug']} (IPv{told['family']}{again})  {line(told)}\n")
        if self._record is not None:
            fd = os.open(self._record, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.fchmod(fd, 0o600)  # it may have been there, open to others
            with os.fdopen(fd, "w", encoding="utf-8") as file:
                json.dump({"schema": RECORDING, "exchanges": ordered}, file, ensure_ascii=False, indent=1)
