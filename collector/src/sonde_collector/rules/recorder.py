"""Asks a platform once, by the agent's own program, and makes a cassette of what it answered."""

import base64
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from sonde_collector.rules import play, recording, signing_key, yaml_text
from sonde_collector.rules.recording import NotRecordable
from sonde_unlock import pack, reading
from sonde_unlock.cassette import Unmatched
from sonde_unlock.document import RuleError
from sonde_unlock.exchange import Error, Exchange, Request
from sonde_unlock.model import Rule
from sonde_unlock.verdict import Judgement

PROGRAM = "sonde-agent"
_SCHEMA = "unlock-exchanges/1"
_LONGEST_S = 600
_LAST_LINES = 5


@attrs.frozen
class Made:
    """A recording.

    Attributes:
        text: of a file of cassettes.
        judgement: of the rule on what was recorded; the same as on the cassette.
        scrubbed: what was replaced or trimmed, in words.
    """

    text: str
    judgement: Judgement
    scrubbed: tuple[str, ...]


def program() -> str:
    """Give the agent's program: beside this one, or on PATH.

    Raises:
        NotRecordable: it is not on this host.
    """
    beside = Path(sys.argv[0]).absolute().parent / PROGRAM
    found = str(beside) if beside.is_file() else shutil.which(PROGRAM)
    if found is None:
        raise NotRecordable(
            f"{PROGRAM} asks the platform and is not on this host: install sonde-agent[unlock]"
        )
    return found


def ask(rule: Rule, family: int, options: Sequence[str]) -> list[Exchange]:
    """Have the agent's program ask a platform once, and give what was said.

    Args:
        rule: what to ask.
        family: 4 or 6.
        options: more for the program, such as --through FILE.

    Raises:
        NotRecordable: it asked nothing; the message holds what it said.
    """
    command = program()
    with tempfile.TemporaryDirectory(prefix="sonde-rules-") as folder:
        packed, out = Path(folder, "unlock.pack"), Path(folder, "exchanges.json")
        key = signing_key.make(
            Path(folder, "key")
        )  # of this run alone: the agent's own rules have no say here
        try:
            packed.write_bytes(pack.sign(pack.build([rule], rule.version, rule.checked_on), key))
        except pack.PackError as error:
            raise NotRecordable(str(error)) from None
        argv = [
            command,
            "check",
            "unlock",
            rule.slug,
            "--pack",
            str(packed),
            "--rule-key",
            pack.public_key(key),
        ]
        argv += ["--record", str(out), "--family", str(family), *options]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_LONGEST_S)
        except subprocess.TimeoutExpired:
            raise NotRecordable(f"{PROGRAM} did not end within {_LONGEST_S} s") from None
        exchanges = read(out.read_bytes(), rule, family) if out.is_file() else []
    if not exchanges:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-_LAST_LINES:]
        raise NotRecordable("\n".join([f"{PROGRAM} asked nothing (exit code {done.returncode})", *said]))
    return exchanges


def read(data: bytes, rule: Rule, family: int) -> list[Exchange]:
    """Give the exchanges of one rule and family in order, without those to pinned addresses. **Pure**.

    Raises:
        NotRecordable: that is no recording of the agent's program.
    """
    try:
        kept = _told(data, rule, family)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        said = f"this is no recording that is known here ({error}): are both programs of one version?"
        raise NotRecordable(said) from None
    return kept


def _told(data: bytes, rule: Rule, family: int) -> list[Exchange]:
    told = json.loads(data)
    if told["schema"] != _SCHEMA:
        raise ValueError(f"its schema is {told['schema']!r}")
    wanted = (rule.slug, family, False)
    kept = [
        _exchange(each)
        for each in told["exchanges"]
        if (each["slug"], each["family"], each["pinned"]) == wanted
    ]
    if strange := {each.request.step for each in kept} - {step.id for step in rule.steps}:
        raise ValueError(f"the rule has no step {strange.pop()!r}")
    return kept


def _exchange(told: Mapping[str, Any]) -> Exchange:
    asked = told["request"]
    request = Request(
        step=asked["step"],
        method=asked["method"],
        url=asked["url"],
        headers=tuple((name, value) for name, value in asked["headers"]),
        body=_body(asked["body"]),
        profile=asked["profile"],
    )
    return Exchange(
        request,
        status=told["status"],
        headers=tuple((name, value) for name, value in told["headers"]),
        body=_body(told["body"]),
        truncated=told["truncated"],
        error=Error(told["error"]) if told["error"] else None,
        detail=told["detail"],
    )


def _body(told: Mapping[str, str]) -> bytes:
    return told["text"].encode() if "text" in told else base64.b64decode(told["base64"])


def make(rule: Rule, exchanges: Sequence[Exchange], about: recording.About) -> Made:
    """Make a cassette, and prove that the rule says of it what it says of the recording.

    Long pages are trimmed; where the rule then sees less, they are left whole.

    Raises:
        NotRecordable: no cassette of these exchanges is judged as they are; the message says how it differs.
    """
    judgement = recording.rejudge(rule, exchanges, about.family)
    country = about.country or judgement.region
    behaviour = about.behaviour or "-".join(
        filter(None, (judgement.verdict.value.replace("_", "-"), country.lower()))
    )
    named = attrs.evolve(about, behaviour=behaviour, country=country)
    why = ""
    for whole in (False, True):
        document = recording.document(rule, exchanges, judgement, named, whole=whole)
        text = yaml_text.document(document)
        why = _differs(rule, text, judgement)
        if not why:
            return Made(text, judgement, tuple(document["cassettes"][0].get("scrubbed", ())))
    raise NotRecordable(f"scrubbed, it is not what it was: {why}")


def _differs(rule: Rule, text: str, judgement: Judgement) -> str:
    """Say how a cassette is judged otherwise than its recording; "" = it is not."""
    try:
        (cassette,) = reading.read_cassettes(text, "the cassette")
        again = play.judge(rule, cassette)
    except (RuleError, Unmatched) as error:
        return str(error)
    for name, wanted, got in play.compared(cassette, again):
        if wanted != got:
            return f'{name} is "{got}", was "{wanted}" ({again.detail})'
    if again.decided.by != judgement.decided.by:
        return f"entry {again.decided.by} decides, was {judgement.decided.by}"
    return ""
