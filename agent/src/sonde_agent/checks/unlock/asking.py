"""Asks the rules of a run, side by side, and each again where that tells how the exit comes to unlock."""

import asyncio
import os
import time
from collections.abc import Sequence

from sonde_agent.checks.base import Context
from sonde_agent.checks.unlock import via, watched
from sonde_agent.checks.unlock.apart import apart
from sonde_agent.checks.unlock.fetching import Fetcher, carrier
from sonde_agent.checks.unlock.rows import Found, row_of
from sonde_agent.checks.unlock.secrets import secrets_of
from sonde_agent.net.dial import Deadline
from sonde_agent.net.names import Names, NoAnswer, SystemResolver, TrustedResolver
from sonde_agent.net.trust import Trust
from sonde_agent.net.web import Web, connected
from sonde_proto.v1 import results_pb2 as pb
from sonde_unlock import engine
from sonde_unlock.exchange import Exchange, Request
from sonde_unlock.model import Rule
from sonde_unlock.verdict import Judgement

AT_ONCE = 8
"""Rules of one run side by side; each of them, and all of them at one host, ask one thing at a time."""
LONGEST_RULE_S = 60.0


async def ask_all(
    orders: Sequence[tuple[Rule, int]], context: Context, within_s: float
) -> list[pb.Unlock | Exception]:
    """Ask each rule over its family, within the time; gives a row each, or what it raised.

    Raises:
        OSError, ValueError: `unlock.ca_file` can't be used, or this host has no authorities.
    """
    unlock = context.rules.unlock
    trust = Trust(unlock.ca_file)
    whole = Deadline(within_s)
    try:
        trusted = None
        if unlock.trusted_resolver and context.refuse(unlock.trusted_resolver, None) is None:
            server = TrustedResolver(unlock.trusted_resolver, unlock.trusted_resolver_name, trust.context())
            trusted = Names(server)
        asking = _Asking(context, carrier(trust), Names(SystemResolver()), trusted)
        gate = asyncio.Semaphore(AT_ONCE)
        deadlines: list[Deadline] = []

        async def one(rule: Rule, family: int) -> pb.Unlock | Exception:
            async with gate:
                try:
                    deadline = Deadline(min(LONGEST_RULE_S, whole.left()))
                    deadlines.append(deadline)
                    return await apart(lambda: row_of(asking.ask(rule, family, deadline)), rule.slug)
                except Exception as error:  # noqa: BLE001 -- a rule that breaks must not end the others
                    return error

        try:
            return await asyncio.gather(*(one(rule, family) for rule, family in orders))
        finally:
            for deadline in deadlines:
                deadline.cancel()
    finally:
        trust.close()


class _Asking:
    """What the rules of one run share."""

    def __init__(self, context: Context, web: Web, names: Names, trusted: Names | None) -> None:
        self._context, self._web, self._names, self._trusted = context, web, names, trusted

    def ask(self, rule: Rule, family: int, deadline: Deadline) -> Found:
        """Ask one rule. Blocks."""
        deadline.left()
        judgement = self._judge(rule, family, self._names, deadline)
        how, pinned = pb.VIA_UNKNOWN, None
        if via.gives_access(judgement):
            how, pinned = self._ask_again(rule, family, judgement, deadline)
        return Found(
            rule=rule,
            family=family,
            judgement=judgement,
            via=how,
            pinned=pinned,
            resolver=self._names.who,
            greeting=self._web.greeting(rule.client.profile),
            exit_address=self._context.exit_address,
        )

    def _ask_again(
        self, rule: Rule, family: int, first: Judgement, deadline: Deadline
    ) -> tuple[pb.Via.ValueType, Judgement | None]:
        trusted = self._trusted
        if trusted is None:
            return pb.VIA_UNKNOWN, None
        places = [(watched.host_of(one.request), one.address) for one in first.trace if connected(one)]
        try:
            answers = {name: trusted.look_up(name, family, deadline.left()).addresses for name, _ in places}
        except (NoAnswer, TimeoutError):
            return pb.VIA_UNKNOWN, None
        if via.same_places(places, answers):
            return pb.VIA_NATIVE, None
        pinned = self._judge(rule, family, trusted, deadline)
        return via.compare(first, pinned), pinned

    def _judge(self, rule: Rule, family: int, names: Names, deadline: Deadline) -> Judgement:
        watch = self._context.watch
        fetch = Fetcher(self._web, names, family, self._context, deadline)
        secrets = secrets_of(
            self._context.rules.unlock.secrets, rule.slug, [secret.name for secret in rule.secrets]
        )

        def ask(request: Request) -> Exchange:
            exchange = fetch(request)
            if watch is not None:
                hidden = [*secrets.values(), self._context.exit_address]
                about = {"slug": rule.slug, "version": rule.version, "family": family}
                watch(watched.document(exchange, hidden, pinned=names is self._trusted, **about))
            return exchange

        inputs = engine.Inputs(
            family=family,
            secrets=secrets,
            now_s=time.time(),
            random_bytes=os.urandom,
            plain_tls=not self._web.browser_tls,
        )
        return engine.run(rule, inputs, ask)
