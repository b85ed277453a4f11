"""The door: who is let in, and how often. Around every path; health is open to all."""

import math
from collections.abc import Mapping

import attrs
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sonde_collector.access import tokens
from sonde_collector.access.admit import may_be_anonymous
from sonde_collector.access.book import ApiKey, KeyBook, KeysUnknown
from sonde_collector.read.api.answer import Answer, problem

OPEN = frozenset({"/healthz", "/readyz"})
ADMITTED = "sonde.admitted"
"""In the scope of a request: whether its sender would be let in anywhere."""
_CHALLENGE = 'Bearer realm="sonde"'


@attrs.frozen
class Door:
    """What decides who needs no key.

    Attributes:
        anonymous: `[api] anonymous` is "loopback".
        listens: the address that the collector listens on, without port.
    """

    anonymous: bool
    listens: str


class _Refused(Exception):
    """Not let in; `answer` says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Guard:
    """Lets in who may, and counts what each key asks."""

    def __init__(self, app: ASGIApp, *, door: Door, book: KeyBook) -> None:
        self._app = app
        self._door = door
        self._book = book

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = _headers(scope)
        extra: Mapping[str, str] = {}
        scope[ADMITTED] = True
        try:
            extra = await self._admit(scope, headers)
        except _Refused as refused:
            if scope["path"] not in OPEN:
                await say(refused.answer, send, head=scope["method"] == "HEAD")
                return
            scope[ADMITTED] = False

        async def send_more(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_raw(extra)]
            await send(message)

        await self._app(scope, receive, send_more)

    async def _admit(self, scope: Scope, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Give what the answer's headers say of the key's rate.

        Raises:
            _Refused: no, with the answer that says why.
        """
        authorization = headers.get("authorization")
        if authorization is None:
            if self._is_anonymous(scope, headers):
                return {}
            raise _stranger(
                "give a key: Authorization: Bearer sonde_…; `sonde-collector api-key add` makes one"
            )
        token = tokens.bearer(authorization)
        if token is None:
            raise _stranger("the Authorization header must be: Bearer sonde_…, a key as it was printed")
        try:
            key = await self._book.find(token)
        except KeysUnknown:
            retry = {"Retry-After": "5"}
            raise _Refused(
                problem(503, "Database away", "keys can't be checked now", headers=retry)
            ) from None
        if key is None:
            raise _stranger("this key is not known, has expired, or was revoked")
        return {} if scope["path"] in OPEN else self._count(key)

    def _is_anonymous(self, scope: Scope, headers: Mapping[str, str]) -> bool:
        client = scope.get("client")
        return may_be_anonymous(
            allowed=self._door.anonymous,
            listens=self._door.listens,
            client=client[0] if client else None,
            headers=headers,
        )

    def _count(self, key: ApiKey) -> Mapping[str, str]:
        taken = self._book.take(key)
        limits = {
            "RateLimit-Limit": str(key.rate_per_minute),
            "RateLimit-Remaining": str(taken.left),
            "RateLimit-Reset": str(math.ceil(taken.full_s)),
        }
        if taken.allowed:
            return limits
        wait = {"Retry-After": str(max(1, math.ceil(taken.wait_s)))}
        detail = f"this key may ask {key.rate_per_minute} times a minute"
        raise _Refused(problem(429, "Too many requests", detail, headers={**limits, **wait}))


async def say(answer: Answer, send: Send, *, head: bool) -> None:
    """Send an answer whole; to a HEAD without its body."""
    headers = dict(answer.headers)
    if answer.status != 304:  # noqa: PLR2004 -- Not Modified has no body whose length could be told
        headers["Content-Length"] = str(len(answer.body))
    await send({"type": "http.response.start", "status": answer.status, "headers": _raw(headers)})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})


def _stranger(detail: str) -> _Refused:
    return _Refused(problem(401, "Key needed", detail, headers={"WWW-Authenticate": _CHALLENGE}))


def _headers(scope: Scope) -> dict[str, str]:
    """Give the headers by name; of one that stands twice, both."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    return headers


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
