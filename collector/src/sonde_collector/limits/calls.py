"""The door of the port for agents: how often a certificate's owner may call, and how much it may say.

Judged by the certificate's name before a byte of the call is read. Without TLS only this host can call, and
is trusted.
"""

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Self

import grpc

from sonde_collector.identity import common_name
from sonde_collector.limits.state import bounded
from sonde_collector.limits.vantages import STREAM, WORD, Vantages

_WATCH = "/sonde.v1.Control/Watch"

_Context = grpc.aio.ServicerContext[Any, Any]


class CallLimits(grpc.aio.ServerInterceptor):
    """Lets calls in, or ends them with RESOURCE_EXHAUSTED, which agents answer by waiting.

    Args:
        vantages: the accounts.
    """

    def __init__(self, vantages: Vantages) -> None:
        self._vantages = vantages

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Give the method's handler, with the door before it."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        cost = STREAM if handler.request_streaming or handler.response_streaming else WORD
        for kind in ("unary_unary", "unary_stream", "stream_unary", "stream_stream"):
            behaviour = getattr(handler, kind)
            if behaviour is not None:
                make: Any = getattr(grpc, f"{kind}_rpc_method_handler")
                words = _Words if handler_call_details.method == _WATCH else None
                guarded = self._guard(behaviour, cost, words)
                return make(guarded, handler.request_deserializer, handler.response_serializer)
        return handler

    def _guard(self, behaviour: Any, cost: int, words: "type[_Words] | None") -> Any:
        if inspect.isasyncgenfunction(behaviour):

            async def answers(request: Any, context: _Context) -> AsyncIterator[Any]:
                with await self._enter(cost, context) as vantage:
                    heard = request if words is None else words(request, vantage, self._vantages)
                    async with contextlib.aclosing(behaviour(heard, context)) as given:
                        async for answer in given:
                            yield answer

            return answers
        if inspect.iscoroutinefunction(behaviour):

            async def answer(request: Any, context: _Context) -> Any:
                with await self._enter(cost, context):
                    return await behaviour(request, context)

            return answer
        return behaviour

    async def _enter(self, cost: int, context: _Context) -> contextlib.AbstractContextManager[str]:
        vantage = common_name(context.auth_context())
        if vantage is None:
            return contextlib.nullcontext("")
        if refused := self._vantages.enter(vantage, cost, time.monotonic()):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, refused)
        return self._inside(vantage, cost)

    @contextlib.contextmanager
    def _inside(self, vantage: str, cost: int) -> Iterator[str]:
        try:
            yield vantage
        finally:
            self._vantages.leave(vantage, cost)


class _Words:
    """What an agent says of itself, no faster than it may and no longer than is kept of it."""

    def __init__(self, states: Any, vantage: str, vantages: Vantages) -> None:
        self._states = aiter(states)
        self._vantage = vantage
        self._vantages = vantages

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        state = await anext(self._states)
        if self._vantage:
            await asyncio.sleep(self._vantages.hear(self._vantage, time.monotonic()))
        return bounded(state)
