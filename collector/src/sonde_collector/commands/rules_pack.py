"""`rules key`, `pack` and `show`: how rules reach agents, in one file that the right key has signed."""

import argparse
import datetime as dt
import os
from importlib.metadata import version
from pathlib import Path

from sonde_collector.commands.output import complain, say, say_json, say_table
from sonde_collector.commands.parsers import Subparsers, add_standalone
from sonde_collector.rules import shelf, signing_key
from sonde_collector.rules.examine import examine
from sonde_unlock import pack as packs
from sonde_unlock.model import Rule

_HEADERS = ("slug", "name", "version", "enabled", "level")


def register(actions: Subparsers) -> None:
    """Add the parsers."""
    one = add_standalone(
        actions, "key", key, "make a key that signs packs",
        examples=("sonde-collector rules key /etc/sonde/rules.key",),
        detail=(
            "The file (Ed25519, PEM, mode 0600) stays with whoever signs, and is never overwritten. What is "
            "printed is public: a line for [policy] of every agent.toml that shall take packs of this key."
        ),
    )  # fmt: skip
    one.add_argument("file", type=Path, metavar="FILE", help="is made; must not exist")
    make = add_standalone(
        actions, "pack", pack, "build and sign a pack of rules",
        examples=(
            "sonde-collector rules pack --key rules.key --out unlock.pack    of the shipped rules",
            "sonde-collector rules pack ./my-rules --all --key rules.key --out unlock.pack",
        ),
        detail="All rules are linted first; a rule with a mistake is packed by nobody.",
    )  # fmt: skip
    make.add_argument(
        "words", nargs="*", metavar="SLUG|FILE|DIR", help="which rules (default: the shipped ones)"
    )
    make.add_argument("--key", type=Path, required=True, metavar="FILE", help="that `rules key` made")
    make.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the pack; replaced in one step"
    )
    make.add_argument("--all", action="store_true", dest="everything", help="also rules that are not enabled")
    make.add_argument("--pack-version", default=None, metavar="TEXT", help="default: that of sonde-rules")
    look = add_standalone(
        actions, "show", show, "what a pack holds, and who signed it",
        examples=(
            "sonde-collector rules show unlock.pack",
            "sonde-collector rules show unlock.pack --rule-key ed25519:3q2+7w… --json",
        ),
        detail=(
            "Without --rule-key the pack is checked against the key that it names itself: that shows that it "
            "is whole, not whose it is."
        ),
    )  # fmt: skip
    look.add_argument("file", type=Path, metavar="PACK")
    look.add_argument(
        "--rule-key", action="append", default=[], metavar="KEY", dest="rule_keys",
        help="a key that may have signed it, as agent.toml has it; may be repeated",
    )  # fmt: skip


def key(args: argparse.Namespace) -> int:
    """Make a key."""
    try:
        public = packs.public_key(signing_key.make(args.file))
    except FileExistsError:
        complain(f"sonde-collector: {args.file} exists: a signing key is never overwritten")
        return 1
    if args.json:
        say_json({"file": str(args.file), "public": public})
        return 0
    complain(f"{args.file} signs packs: keep it where packs are built. For agent.toml, below [policy]:")
    say(f'rule_keys = ["{public}"]')
    return 0


def pack(args: argparse.Namespace) -> int:
    """Build and sign."""
    try:
        examined = [examine(path) for path in shelf.rule_files(args.words)]
        pem = signing_key.read(args.key)
        by = packs.public_key(pem)
    except (shelf.Unknown, ValueError, packs.PackError) as error:
        complain(f"sonde-collector: {error}")
        return 2
    mistakes = [mistake for each in examined for mistake in each.mistakes]
    for mistake in mistakes:
        complain(str(mistake))
    if mistakes:
        complain("sonde-collector: nothing was packed")
        return 1
    rules = [each.rule for each in examined if each.rule and (args.everything or each.rule.enabled)]
    if not rules:
        complain("sonde-collector: none of these rules is enabled: --all packs the others too")
        return 1
    number = args.pack_version or version("sonde-rules")
    try:
        body = packs.build(rules, number, f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%SZ}")
        signed = packs.sign(body, pem)
    except packs.PackError as error:
        complain(f"sonde-collector: {error}")
        return 1
    _replace(args.out, signed)
    if args.json:
        say_json({"file": str(args.out), "version": number, "rules": [rule.slug for rule in rules]})
        return 0
    say(f"{args.out}: version {number}, {len(rules)} rules, {len(signed)} bytes, signed by {by}")
    left_out = len(examined) - len(rules)
    if left_out:
        say(f"left out: {left_out} that are not enabled (--all packs them too)")
    return 0


def _replace(path: Path, data: bytes) -> None:
    """Write a file so that a reader, and a crash, sees the old one or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def show(args: argparse.Namespace) -> int:
    """Show a pack."""
    with args.file.open("rb") as file:
        data = file.read(packs.MAX_BYTES + 1)
    named = packs.ENVELOPE.fullmatch(data)
    own = [packs.PREFIX + named[1].decode()] if named else []
    try:
        opened = packs.open_pack(data, args.rule_keys or own)
    except packs.PackError as error:
        complain(f"sonde-collector: {args.file}: {error}")
        return 1
    rules = list(opened.rules.values())
    if args.json:
        say_json(
            {
                "version": opened.version,
                "signed_by": opened.signed_by,
                "known_key": bool(args.rule_keys),
                "rules": [
                    {"slug": rule.slug, "version": rule.version, "enabled": rule.enabled} for rule in rules
                ],
            }
        )
        return 0
    say(f"version {opened.version}, {len(rules)} rules, signed by {opened.signed_by}")
    if not args.rule_keys:
        say("that is the key it names itself: --rule-key says whether it is one of yours")
    say_table(_HEADERS, [_row(rule) for rule in rules])
    return 0


def _row(rule: Rule) -> tuple[str, ...]:
    return (rule.slug, rule.name, rule.version, "yes" if rule.enabled else "no", rule.evidence.level.value)
