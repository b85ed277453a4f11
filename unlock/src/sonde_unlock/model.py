"""What a rule is. Made by `parse` alone, which vouches for all that is said here."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs

from sonde_unlock.document import Places
from sonde_unlock.exchange import Error
from sonde_unlock.pattern import Pattern
from sonde_unlock.verdict import Level, Verdict

MAX_STEPS = 12
MAX_REQUESTS = 30
"""In one run, redirects included."""
MAX_ROUNDS = 10
"""Of one step's `for_each`."""
MAX_FOLLOW = 10
MAX_BODY_BYTES = 3_000_000
MAX_TIMEOUT_S = 15

NOT_OF_THE_EXIT = (Error.DNS, Error.NO_ADDRESS, Error.POLICY)
"""Errors of resolvers and of our own side: no rule may conclude anything from them."""

Scalar = str | int | float | bool
Value = Scalar | tuple[Scalar, ...]
"""What a variable holds: one value, or with `all` several."""


class Quantifier(StrEnum):
    """How many of a step's answers, or of several conditions, must hold."""

    ANY = "any_of"
    ALL = "all_of"
    NONE = "none_of"


# --- conditions on one answer


@attrs.frozen
class StatusIs:
    """The last hop's status is within one of these ranges, both ends included."""

    ranges: tuple[tuple[int, int], ...]


@attrs.frozen
class Matches:
    """A pattern is found in the last hop's `body`, in the `final_url`, or in any hop's `location`."""

    part: str
    pattern: Pattern


@attrs.frozen
class HeaderMatches:
    """A pattern is found in a header of the last hop that has it; the name is in lower case."""

    name: str
    pattern: Pattern


@attrs.frozen
class Test:
    """What a value is compared with.

    Attributes:
        operator: "eq", "in", "in_var", "exists" or "matches".
        values: of eq (one) and in; for in_var, values that count besides.
        other: name of the list or variable, for in_var.
        pattern: of matches.
        expected: of exists.
    """

    operator: str
    values: tuple[Scalar, ...] = ()
    other: str = ""
    pattern: Pattern | None = None
    expected: bool = True


@attrs.frozen
class JsonIs:
    """What stands at a path of the last hop's JSON body."""

    path: tuple[str, ...]
    test: Test


@attrs.frozen
class ErrorIs:
    """There is no answer, for one of these reasons; none named = for whatever reason."""

    kinds: frozenset[Error]


Atom = StatusIs | Matches | HeaderMatches | JsonIs | ErrorIs

# --- conditions


@attrs.frozen
class Answers:
    """So many answers of a step meet all atoms."""

    quantifier: Quantifier
    step: str
    atoms: tuple[Atom, ...]


@attrs.frozen
class VariableIs:
    """A variable passes a test."""

    name: str
    test: Test


@attrs.frozen
class HasSecret:
    """The operator gave this secret, or the rule has a default for it."""

    name: str


@attrs.frozen
class Group:
    """So many of these conditions hold."""

    quantifier: Quantifier
    conditions: tuple["Condition", ...]


Condition = Answers | VariableIs | HasSecret | Group

# --- what is asked


@attrs.frozen
class Transform:
    """`kind` is upper, lower, alpha3to2, base64 or map; `table` is of map."""

    kind: str
    table: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Capture:
    """A value taken from an answer into a variable. The first capture of a name that finds something wins.

    Attributes:
        name: of the variable.
        source: json, body, header, cookie, location, final_url, url_path or var.
        of: the header, cookie or variable; "" for other sources.
        path: into JSON; empty when a pattern is used.
        pattern: its first group, or the whole of it.
        every: all that are found, each once, instead of the first.
        transforms: in this order; what one can't transform counts as not found.
        required: without it nothing after this step is asked (except fallbacks), and nothing is available.
    """

    name: str
    source: str
    of: str = ""
    path: tuple[str, ...] = ()
    pattern: Pattern | None = None
    every: bool = False
    transforms: tuple[Transform, ...] = ()
    required: bool = False


@attrs.frozen
class RequestSpec:
    """What a step sends. Texts may hold {NAME} of variables, secrets and captures.

    Attributes:
        body_kind: json, form, raw, or "" for none.
        body: a plain document (json), a table of texts (form), or a text (raw).
        follow: redirects at most.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    cookies: tuple[tuple[str, str], ...] = ()
    body_kind: str = ""
    body: Any = None
    follow: int = 0


@attrs.frozen
class ForEach:
    """One round for each value of a list (the rule's `lists`, or a captured variable)."""

    variable: str
    source: str


@attrs.frozen
class Step:
    """One request, or one for each value of a list.

    Attributes:
        run_if: asked unless one of these certainly does not hold.
        fallback: an earlier step: this one is asked only if that one was due and gave no answer, or found
            nothing for one of the names that it captures.
        allow_host: domain names; every host asked must be one of them, or below. () = not stated.
    """

    id: str
    request: RequestSpec
    for_each: ForEach | None = None
    run_if: tuple[Condition, ...] = ()
    fallback: str = ""
    captures: tuple[Capture, ...] = ()
    allow_host: tuple[str, ...] = ()


@attrs.frozen
class Entry:
    """An entry of the rule's verdicts: the first whose conditions all hold decides.

    Attributes:
        region: name of the variable that holds it; "" = none.
        region_const: the region itself; "" = none.
    """

    when: tuple[Condition, ...]
    verdict: Verdict
    scope: str = ""
    region: str = ""
    region_const: str = ""
    detail: str = ""


# --- the rest


@attrs.frozen
class Generated:
    """A variable that the engine makes: text, uuid, hex (of `length` digits), now (Unix seconds) or md5."""

    name: str
    kind: str
    text: str = ""
    length: int = 0


@attrs.frozen
class Secret:
    """What an operator may give by file. `default`: a public constant of the platform's own client."""

    name: str
    optional: bool = False
    default: str = ""
    note: str = ""


@attrs.frozen
class Client:
    """Who asks: profile is browser, android or plain."""

    profile: str
    headers: tuple[tuple[str, str], ...] = ()
    max_body: int = MAX_BODY_BYTES
    timeout_s: float = 10.0


@attrs.frozen
class Evidence:
    """What a verdict of this rule rests on, and what it can and can't show."""

    level: Level
    shows: str
    cannot_show: str


@attrs.frozen
class Source:
    """Where the rule's facts are from."""

    source: str
    date: str
    note: str = ""


@attrs.frozen
class Rule:
    """How to ask a platform, and what its answers mean.

    Attributes:
        version: of the rule; a result names it.
        checked_on: day on which somebody last compared the facts with their sources (YYYY-MM-DD).
        confirmed_live: day on which it was last seen to be right on the live platform; "" = never.
        families: 4 and 6 -> expected, unsupported or unknown.
        regions: where the platform is offered, as far as known; for people.
        document: what it was parsed from.
        places: lines of that.
    """

    slug: str
    name: str
    version: str
    checked_on: str
    confirmed_live: str
    enabled: bool
    provenance: tuple[Source, ...]
    confidence: str
    evidence: Evidence
    families: Mapping[int, str]
    regions: tuple[str, ...]
    client: Client
    variables: tuple[Generated, ...]
    secrets: tuple[Secret, ...]
    lists: Mapping[str, tuple[str, ...]]
    steps: tuple[Step, ...]
    verdicts: tuple[Entry, ...]
    document: Mapping[str, Any] = attrs.field(eq=False, repr=False)
    places: Places = attrs.field(eq=False, repr=False)

    def step(self, name: str) -> Step:
        """Give the step of that id; KeyError when there is none."""
        for step in self.steps:
            if step.id == name:
                return step
        raise KeyError(name)
