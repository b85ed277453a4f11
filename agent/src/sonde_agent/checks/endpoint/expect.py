"""An answer against the plan's expectations, in words. No socket, no clock."""

from collections.abc import Mapping, Sequence

from sonde_agent.checks.endpoint.linear_regex import BadPattern, TooCostly, linear_regex
from sonde_proto.v1 import control_pb2

_SHOWN = 80
_DAY_US = 86_400_000_000


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")


def bad_pattern(expect: control_pb2.Expectations) -> str | None:
    """Which pattern can't be used, and why; None when all can. **Pure.**"""
    patterns = {"body_regex": expect.body_regex} | {
        f"header_regex {n}": p for n, p in expect.header_regex.items()
    }
    for where, pattern in patterns.items():
        try:
            linear_regex(pattern)
        except BadPattern as error:
            return f"{where} {_shown(pattern)}: {error}"
    return None


def _matches(pattern: str, text: str) -> str | None:
    """None when it matches, else what to say of the text."""
    try:
        return None if linear_regex(pattern).search(text) else "does not match"
    except TooCostly:
        return "is too costly to compare with"


def http_mismatch(  # noqa: PLR0911 - the first that is not met ends it
    expect: control_pb2.Expectations, status: int, headers: Mapping[str, str], body: bytes | bytearray
) -> str | None:
    """The first expectation that an HTTP answer does not meet; None when it meets all. **Pure.**"""
    if expect.status:
        if status not in expect.status:
            return f"status {status}, expected {' or '.join(map(str, expect.status))}"
    elif not 200 <= status <= 399:  # noqa: PLR2004 - the default that the proto names
        return f"status {status}, expected 200 to 399"
    for name, pattern in sorted(expect.header_regex.items()):
        value = headers.get(name.lower())
        if value is None:
            return f"there is no header {name}, expected one matching {_shown(pattern)}"
        if said := _matches(pattern, value):
            return f"header {name} {_shown(value)} {said} {_shown(pattern)}"
    if expect.body_contains and expect.body_contains.encode() not in body:
        return f"the body does not contain {_shown(expect.body_contains)}"
    if expect.body_regex and (said := _matches(expect.body_regex, body.decode("utf-8", "replace"))):
        return f"the body {said} {_shown(expect.body_regex)}"
    return None


def certificate_mismatch(expect: control_pb2.Expectations, not_after_us: int, now_us: int) -> str | None:
    """Whether a certificate ends too soon, in words; None when it does not. **Pure.**"""
    days = (not_after_us - now_us) // _DAY_US
    if expect.min_cert_days and days < expect.min_cert_days:
        return f"the certificate ends in {days} days, expected at least {expect.min_cert_days}"
    return None


def total_mismatch(expect: control_pb2.Expectations, total_ms: float) -> str | None:
    """Whether the run took too long, in words; None when it did not. **Pure.**"""
    if expect.max_total_ms and total_ms > expect.max_total_ms:
        return f"it took {total_ms:.0f} ms, expected at most {expect.max_total_ms} ms"
    return None


def answers_mismatch(expect: control_pb2.Expectations, answers: Sequence[str]) -> str | None:
    """Whether DNS answered another set, in words; None when it did not. **Pure.**"""
    if not expect.answers:
        return None
    wanted, got = {plain_answer(answer) for answer in expect.answers}, set(answers)
    missing, foreign = sorted(wanted - got), sorted(got - wanted)
    parts = [f"missing {', '.join(missing)}"] if missing else []
    parts += [f"not expected {', '.join(foreign)}"] if foreign else []
    return f"the answers differ: {'; '.join(parts)}" if parts else None


def plain_answer(text: str) -> str:
    """A DNS answer for comparing: no final dot, lower case; of quoted text the text itself. **Pure.**"""
    if text.startswith('"'):
        return text.replace('" "', "").strip('"')
    return text.rstrip(".").lower()
