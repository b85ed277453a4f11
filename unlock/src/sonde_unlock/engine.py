"""Evaluating a rule: what to ask next, and in the end the verdict. **Pure**: it yields what it asks.

A run asks at most `MAX_REQUESTS` requests and reads at most `MAX_READ_BYTES`; how long it may take is the
caller's to bound, who carries the requests.
"""

import contextlib
import hashlib
from collections.abc import Callable, Generator, Mapping

import attrs

from sonde_unlock.answer import Answer
from sonde_unlock.capture import captured, says_nothing
from sonde_unlock.compose import compose, redirected
from sonde_unlock.exchange import Exchange, Request
from sonde_unlock.guards import host_of
from sonde_unlock.jar import Jar
from sonde_unlock.judge import Outcome, judge
from sonde_unlock.match import Seen, holds
from sonde_unlock.model import MAX_REQUESTS, MAX_ROUNDS, Generated, Rule, Secret, Step, Value
from sonde_unlock.say import hidden
from sonde_unlock.template import CannotFill, as_text, fill, names
from sonde_unlock.verdict import Decided, Judgement, Verdict

MAX_READ_BYTES = 12_000_000
LEAST_BODY_BYTES = 1000
MAX_FILLED = 4000
TOO_MANY_REQUESTS = 429
STOPPED = "the platform said that it was asked too often"


@attrs.frozen
class Inputs:
    """What a run needs from outside.

    Attributes:
        family: 4 or 6; the transport keeps to it.
        secrets: the operator's, by name.
        now_s: Unix time.
        random_bytes: gives so many random bytes.
        plain_tls: the transport can't show a browser's TLS: that such a client is refused says nothing.
    """

    family: int
    secrets: Mapping[str, str] = attrs.field(repr=False)
    now_s: float
    random_bytes: Callable[[int], bytes]
    plain_tls: bool = False


def evaluate(rule: Rule, inputs: Inputs) -> Generator[Request, Exchange, Judgement]:
    """Evaluate a rule once, over one family. **Pure.**

    Yields:
        One request at a time, one hop each; send in what became of it.

    Returns:
        The judgement. Nothing is raised, whatever is sent in.
    """
    absent = [one for one in rule.secrets if not (one.default or inputs.secrets.get(one.name))]
    if any(not one.optional for one in absent):
        return _not_configured(rule, next(one for one in absent if not one.optional))
    run = _Run(rule, inputs)
    yield from run.steps()
    if absent and not run.trace and not run.unasked:
        return _not_configured(rule, absent[0])
    return judge(rule, run.outcome(), plain_tls=inputs.plain_tls, family=inputs.family)


def _not_configured(rule: Rule, secret: Secret) -> Judgement:
    decided = Decided(0, "", f"secret {secret.name}")
    detail = f"this rule needs the secret file {rule.slug}.{secret.name}"
    return Judgement(Verdict.NOT_CONFIGURED, "", "", decided, detail, trace=())


def run(rule: Rule, inputs: Inputs, fetch: Callable[[Request], Exchange]) -> Judgement:
    """Evaluate a rule, fetching each hop in turn."""
    asking = evaluate(rule, inputs)
    try:
        request = next(asking)
        while True:
            request = asking.send(fetch(request))
    except StopIteration as end:
        judgement: Judgement = end.value
        return judgement


class _Run:
    def __init__(self, rule: Rule, inputs: Inputs) -> None:
        self.rule, self.inputs = rule, inputs
        self.jar = Jar()
        self.trace: list[Exchange] = []
        self.left_bytes = MAX_READ_BYTES
        self.answers: dict[str, tuple[Answer, ...]] = {}
        self.origins: dict[str, tuple[str, Answer]] = {}
        self.unasked: dict[str, str] = {}
        self.tried: set[str] = set()
        self.required: list[str] = []
        self.told_to_stop = False
        given = {one.name: inputs.secrets.get(one.name) or one.default for one in rule.secrets}
        self.secrets = {name: text for name, text in given.items() if text}
        self.values: dict[str, Value] = dict(self.secrets)
        for variable in rule.variables:
            # Of an optional secret that is not there nothing is made: steps that need it are not asked.
            with contextlib.suppress(CannotFill):
                self.values[variable.name] = self._generated(variable)

    def _generated(self, variable: Generated) -> str:
        if variable.kind == "uuid":
            raw = bytearray(self.inputs.random_bytes(16))
            raw[6], raw[8] = raw[6] & 0x0F | 0x40, raw[8] & 0x3F | 0x80  # version 4, RFC 9562 section 5.4
            digits = raw.hex()
            return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        if variable.kind == "hex":
            return self.inputs.random_bytes((variable.length + 1) // 2).hex()[: variable.length]
        if variable.kind == "now":
            return str(int(self.inputs.now_s))
        if variable.kind == "md5":
            text = fill(variable.text, self.values, MAX_FILLED)
            return hashlib.md5(text.encode(errors="replace"), usedforsecurity=False).hexdigest()
        return variable.text

    @property
    def missing(self) -> list[str]:
        return [name for name in self.required if name not in self.values]

    def seen(self) -> Seen:
        public = {name: value for name, value in self.values.items() if name not in self.secrets}
        unsure = {
            capture.name
            for step in self.rule.steps
            for capture in step.captures
            if step.id in self.unasked
            or step.id not in self.answers
            or any(says_nothing(capture, answer) for answer in self.answers[step.id])
        }
        return Seen(self.answers, {**self.rule.lists, **public}, self.secrets, self.unasked, unsure)

    def outcome(self) -> Outcome:
        hosts = [host_of(hop.request.url) for hop in self.trace]
        held: list[str] = []
        for name in self.origins:
            value = self.values[name]
            held += map(as_text, value if isinstance(value, tuple) else (value,))
        shown = [text for text in held if any(text.lower() in host for host in hosts)]
        return Outcome(
            seen=self.seen(),
            origins=self.origins,
            missing=tuple(dict.fromkeys(self.missing)),
            unasked=self.unasked,
            trace=tuple(self.trace),
            hidden=hidden(self.secrets.values(), {*held, *self.jar.values()}.difference(shown)),
        )

    def steps(self) -> Generator[Request, Exchange, None]:
        for step in self.rule.steps:
            if self._left_out(step):
                self.answers[step.id] = ()
            elif self.told_to_stop:
                self.unasked[step.id] = STOPPED
            elif self.missing and step.fallback not in self.tried:
                self.unasked[step.id] = f"{self.missing[0]} was not found before"
            else:
                yield from self._step(step)

    def _left_out(self, step: Step) -> bool:
        """Whether a step is not asked on purpose."""
        seen = self.seen()
        if any(holds(condition, seen) is False for condition in step.run_if):
            return True
        request = step.request
        texts = (request.url, request.headers, request.cookies, request.body)
        if any(
            secret.name not in self.secrets
            for secret in self.rule.secrets
            if secret.name in set(names(texts))
        ):
            return True
        if not step.fallback:
            return False
        first = self.rule.step(step.fallback)
        if self.answers.get(first.id) == ():
            return True
        return (
            first.id in self.tried
            and any(answer.arrived for answer in self.answers.get(first.id, ()))
            and all(capture.name in self.values for capture in first.captures)
        )

    def _step(self, step: Step) -> Generator[Request, Exchange, None]:
        self.tried.add(step.id)
        self.required += [capture.name for capture in step.captures if capture.required]
        answers: list[Answer] = []
        rounds: list[dict[str, Value]] = []
        try:
            rounds = self._rounds(step)
            for values in rounds:
                answer = yield from self._round(step, values)
                answers.append(answer)
                self._capture(step, answer, values)
                if answer.last.status == TOO_MANY_REQUESTS:
                    self.told_to_stop = True
                    break
        except CannotFill as reason:
            self.unasked[step.id] = str(reason)
        if self.told_to_stop and len(answers) < len(rounds):
            self.unasked[step.id] = STOPPED
        if answers:
            self.answers[step.id] = tuple(answers)

    def _rounds(self, step: Step) -> list[dict[str, Value]]:
        if step.for_each is None:
            return [self.values]
        source: Value | None = self.rule.lists.get(
            step.for_each.source, self.values.get(step.for_each.source)
        )
        if source is None:
            raise CannotFill(f"{step.for_each.source} has no value")
        items = source if isinstance(source, tuple) else (source,)
        if len(items) > MAX_ROUNDS:
            raise CannotFill(f"{step.for_each.source} has more than {MAX_ROUNDS} values")
        return [{**self.values, step.for_each.variable: item} for item in items]

    def _capture(self, step: Step, answer: Answer, values: Mapping[str, Value]) -> None:
        for capture in step.captures:
            if capture.name not in self.values:
                value = captured(capture, answer, {**values, **self.values})
                if value is not None:
                    self.values[capture.name] = value
                    self.origins[capture.name] = (step.id, answer)

    def _round(self, step: Step, values: Mapping[str, Value]) -> Generator[Request, Exchange, Answer]:
        if spent := self._spent():
            raise CannotFill(spent)
        request = compose(self.rule, step, values, self.jar)
        hops: list[Exchange] = []
        while True:
            request = attrs.evolve(request, max_body=min(self.rule.client.max_body, self.left_bytes))
            hop = _bounded((yield request), request)
            self.trace.append(hop)
            self.left_bytes -= len(hop.body)
            self.jar.take(hop)
            hops.append(hop)
            if step.request.follow == 0:
                return Answer(tuple(hops))
            following = redirected(hop, step, self.jar)
            if following is None or isinstance(following, str):
                return Answer(tuple(hops), following or "")
            enough = "the rule follows no further" if len(hops) > step.request.follow else self._spent()
            if enough:
                return Answer(tuple(hops), enough)
            request = following

    def _spent(self) -> str:
        if len(self.trace) >= MAX_REQUESTS:
            return f"the run asked {MAX_REQUESTS} requests already"
        return f"the run read {MAX_READ_BYTES} bytes already" if self.left_bytes < LEAST_BODY_BYTES else ""


def _bounded(exchange: Exchange, request: Request) -> Exchange:
    """What came, as an answer to what was asked, and no more than was asked for."""
    cut = exchange.body[: request.max_body]
    return attrs.evolve(
        exchange, request=request, body=cut, truncated=exchange.truncated or len(cut) < len(exchange.body)
    )
