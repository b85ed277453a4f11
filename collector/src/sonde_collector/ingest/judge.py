"""Which rows may be written, and what is wrong with the others. **Pure**: no socket, clock or SQL."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from sonde_collector.ingest.merge import BAD_TEXT, Rows
from sonde_collector.ingest.rules import (
    FUTURE_US,
    MAX_TARGET,
    RULES,
    YEAR_1_US,
    YEAR_10000_US,
    Reason,
    Rule,
)
from sonde_proto.columns import FIELDS, Field
from sonde_proto.v1 import results_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEADER = -1
_SHOWN = 80

# Performance and endpoint results are about something; health is not, and missed slots need not be.
_TARGET = {kind: Rule(longest=MAX_TARGET, required=kind in {"performance", "endpoint"}) for kind in FIELDS}


@frozen(eq=False)
class Verdict:
    """Per row a `Reason`, and the field it is about: an index into `FIELDS[kind]`, -1 for target and time."""

    reason: NDArray[np.int8]
    about: NDArray[np.int16]

    @property
    def accepted(self) -> NDArray[np.bool_]:
        """True where a row may be written."""
        accepted: NDArray[np.bool_] = self.reason == Reason.ACCEPTED
        return accepted

    def flag(self, mask: NDArray[np.bool_], reason: Reason, about: int = _HEADER) -> None:
        """Rejects the rows of the mask that nothing rejected yet."""
        if mask.any():
            fresh = mask & self.accepted
            self.reason[fresh] = reason
            self.about[fresh] = about


def judge(
    rows: Rows, strings: Sequence[str], received_at_us: NDArray[np.int64], *, retention_us: int
) -> Verdict:
    """Judges every value that does not need the database to be judged.

    Args:
        rows: of one kind.
        strings: the write's dictionary.
        received_at_us: per batch.
        retention_us: results measured longer before their arrival are too old. [us]
    """
    count = len(rows)
    verdict = Verdict(np.zeros(count, np.int8), np.full(count, _HEADER, np.int16))
    received = received_at_us[rows.batch]
    verdict.flag(rows.measured_at_us > received + FUTURE_US, Reason.FROM_THE_FUTURE)
    verdict.flag(rows.measured_at_us < received - retention_us, Reason.TOO_OLD)
    _judge_text(verdict, rows.target, strings, _TARGET[rows.kind], _HEADER)
    for about, (name, rule) in enumerate(RULES[rows.kind].items()):
        field = FIELDS[rows.kind][about]
        assert field.name == name
        values = rows.columns[name]
        if values is None:
            if rule.required:
                verdict.flag(np.ones(count, np.bool_), Reason.MISSING_VALUE, about)
        elif field.is_text:
            _judge_text(verdict, values.astype(np.int32, copy=False), strings, rule, about)
        else:
            _judge_number(verdict, values, field, rule, about)
    if rows.kind == "unlock":
        _judge_unlock(verdict, rows)
    return verdict


def _judge_unlock(verdict: Verdict, rows: Rows) -> None:
    """Demands a verdict of a rule that was asked, and the version that judged of all who have a rule."""
    said, ours, version = (_numbers(rows, name) for name in ("verdict", "failure", "rule_version"))
    verdict.flag((said <= 0) & (ours <= 0), Reason.MISSING_VALUE, _place("unlock", "verdict"))
    without = (said > 0) & (said != results_pb2.VERDICT_NOT_CONFIGURED) & (version < 0)
    verdict.flag(without, Reason.MISSING_VALUE, _place("unlock", "rule_version"))


def _numbers(rows: Rows, name: str) -> NDArray[np.int32]:
    """A column of words or texts as numbers; what is NULL is negative."""
    values = rows.columns[name]
    return np.full(len(rows), -1, np.int32) if values is None else values.astype(np.int32)


def _place(kind: str, name: str) -> int:
    return next(at for at, field in enumerate(FIELDS[kind]) if field.name == name)


def _judge_number(verdict: Verdict, values: NDArray[Any], field: Field, rule: Rule, about: int) -> None:
    null = np.isnan(values) if field.typecode == "f" else values == field.null
    if rule.required:
        verdict.flag(null, Reason.MISSING_VALUE, about)
    if rule.only:
        reason = Reason.UNKNOWN_ENUM if field.typecode == "b" else Reason.OUT_OF_RANGE
        verdict.flag(~(null | np.isin(values, rule.only)), reason, about)
        return
    # A value between two hundredths is judged as the table will hold it; NaN compares false with everything.
    high = rule.high + rule.step * 0.49
    good = (values >= rule.low) & (values <= high)
    if not (good | null).all():
        if field.typecode == "f":
            verdict.flag(np.isinf(values), Reason.NOT_FINITE, about)
        verdict.flag(~(good | null), Reason.OUT_OF_RANGE, about)


def _judge_text(
    verdict: Verdict, codes: NDArray[np.int32], strings: Sequence[str], rule: Rule, about: int
) -> None:
    verdict.flag(codes == BAD_TEXT, Reason.TEXT_NOT_IN_DICTIONARY, about)
    if rule.required:
        verdict.flag(codes == -1, Reason.MISSING_VALUE, about)
    used = np.zeros(len(strings), np.bool_)
    used[codes[codes >= 0]] = True
    # One pass over the rows for each reason, not for each bad text: a batch may hold as many as it has rows.
    bad: dict[Reason, list[int]] = {}
    for code in np.flatnonzero(used).tolist():
        text = strings[code]
        if (len(text.encode()) if rule.json else len(text)) > rule.longest:
            bad.setdefault(Reason.TEXT_TOO_LONG, []).append(code)
        elif "\0" in text:
            bad.setdefault(Reason.TEXT_HAS_NUL, []).append(code)
        elif rule.json and not _is_json_object(text):
            bad.setdefault(Reason.NOT_A_JSON_OBJECT, []).append(code)
    for reason, found in bad.items():
        verdict.flag(np.isin(codes, found), reason, about)


def _is_json_object(text: str) -> bool:
    """Whether it is a JSON object as jsonb takes it: no NUL, no half surrogate pair, no endless number."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
        plain = json.dumps(value, ensure_ascii=False, allow_nan=False)
        plain.encode()
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "\\u0000" not in plain.replace("\\\\", "")


def _no_constant(name: str) -> None:
    raise ValueError(name)


def explain(rows: Rows, row: int, verdict: Verdict, strings: Sequence[str], received_at_us: int) -> str:
    """Says in words what is wrong with a rejected row, and what would have been right."""
    reason, about = Reason(int(verdict.reason[row])), int(verdict.about[row])
    if reason in {Reason.FROM_THE_FUTURE, Reason.TOO_OLD}:
        measured = instant(int(rows.measured_at_us[row]))
        when = measured.isoformat() if measured else f"{rows.measured_at_us[row]} us"
        came = _EPOCH + timedelta(microseconds=received_at_us)
        limit = (
            "more than 10 minutes ahead of"
            if reason is Reason.FROM_THE_FUTURE
            else "before the retention, or in a partition that has left the database, at"
        )
        return f"measured_at {when} is {limit} its arrival {came.isoformat()}: check the vantage's clock"
    if about == _HEADER and reason is Reason.MISSING_VALUE:
        return f"target is not set, and a {rows.kind} result needs it"
    if about == _HEADER:
        return _explain_text("target", reason, int(rows.target[row]), strings, MAX_TARGET)
    field = FIELDS[rows.kind][about]
    rule = RULES[rows.kind][field.name]
    column = rows.columns[field.name]
    if reason is Reason.MISSING_VALUE or column is None:
        return f"{field.name} is not set, and a {rows.kind} result needs it"
    if field.is_text:
        return _explain_text(field.name, reason, int(column[row]), strings, rule.longest)
    allowed = f"one of {', '.join(map(str, rule.only))}" if rule.only else f"{rule.low:g}..{rule.high:.9g}"
    return f"{field.name} is {column[row]}, allowed is {allowed}"


def _explain_text(name: str, reason: Reason, code: int, strings: Sequence[str], longest: int) -> str:
    if code < 0:
        return f"{name} is not in the batch's dictionary"
    text = strings[code].replace("\0", "\\0")
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    match reason:
        case Reason.TEXT_TOO_LONG:
            said = f"{name} has {len(text)} characters, at most {longest} are kept: {shown!r}"
        case Reason.TEXT_HAS_NUL:
            said = f"{name} holds a NUL character, which PostgreSQL can't store: {shown!r}"
        case Reason.UNKNOWN_PROTOCOL:
            said = f"protocol {shown!r} is not in the table protocols"
        case Reason.UNKNOWN_PLATFORM:
            said = f"platform {shown!r} is not in streaming_platforms: name it in a [[plan]] and apply"
        case Reason.NOT_A_JSON_OBJECT:
            said = f"{name} is no JSON object that PostgreSQL takes: {shown!r}"
        case _:
            said = f"{name} {shown!r} is not in this database's inventory: add it to fleet.toml and apply"
    return said


def instant(us: int) -> datetime | None:
    """A point in time as PostgreSQL takes it; None outside the years 1..9999."""
    return _EPOCH + timedelta(microseconds=us) if YEAR_1_US <= us < YEAR_10000_US else None
