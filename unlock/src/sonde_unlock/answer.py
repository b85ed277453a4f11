"""One round of a step: the hops from its request to the answer that counts, and what may be read in them."""

import json
from functools import cached_property
from typing import Any

import attrs

from sonde_unlock.exchange import Error, Exchange
from sonde_unlock.guards import challenge

MAX_JSON_PARTS = 200_000
"""Tables, lists and values: what 3 MB of `[[],[],` would make of memory is not made."""


@attrs.frozen(slots=False)
class Answer:
    """The last hop is the answer; those before it are redirects.

    Attributes:
        hops: one or more.
        stopped: why a redirect was not followed; "" = there was none, or it was.
    """

    hops: tuple[Exchange, ...]
    stopped: str = ""

    @property
    def last(self) -> Exchange:
        """The hop that counts. **Pure.**"""
        return self.hops[-1]

    @property
    def error(self) -> Error | None:
        """Why there is no answer; None = there is. **Pure.**"""
        return None if self.arrived else self.last.error or Error.PROTOCOL

    @property
    def arrived(self) -> bool:
        """Whether there is an answer. **Pure.**"""
        return self.last.status > 0 and self.last.error is None

    @property
    def final_url(self) -> str:
        """What the last hop asked for. **Pure.**"""
        return self.last.request.url

    @cached_property
    def challenge(self) -> str:
        """The name of the challenge that it is; "" = none. **Pure.**"""
        return challenge(self.last) if self.arrived else ""

    @property
    def body(self) -> bytes:
        """What markers may be looked for in; empty where nothing can be concluded from it. **Pure.**

        That is: no answer, a challenge, an empty or a truncated body.
        """
        return self.last.body if self.readable else b""

    @property
    def readable(self) -> bool:
        """Whether that nothing was found in it says something. **Pure.**"""
        return self.arrived and not self.challenge and not self.last.truncated

    @cached_property
    def json(self) -> Any:
        """The body as JSON; None = it is none, or too large. **Pure.**"""
        return read_json(self.body)

    def header(self, name: str) -> str | None:
        """Give a header of the last hop that has it; None = no hop has. **Pure.**"""
        for hop in reversed(self.hops):
            for key, value in hop.headers:
                if key == name:
                    return value
        return None


def read_json(text: bytes | str) -> Any:
    """Parse JSON within bounds; None = it is none. **Pure.**"""
    raw = text.encode(errors="replace") if isinstance(text, str) else text
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") > MAX_JSON_PARTS:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def json_at(document: Any, path: tuple[str, ...]) -> Any:
    """Give what stands at a path of keys and indexes; None = nothing. **Pure.**"""
    for part in path:
        if isinstance(document, dict):
            document = document.get(part)
        elif isinstance(document, list) and part.isdecimal() and part.isascii() and int(part) < len(document):
            document = document[int(part)]
        else:
            return None
    return document
