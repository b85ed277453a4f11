"""Takes connections, reads requests, and answers as the world says."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from sonde_lab.world import http
from sonde_lab.world.greet import greet
from sonde_lab.world.hello import Hello
from sonde_lab.world.http import Asked, NotHttp

_IDLE_S = 60.0
_TLS_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        address: where from.
        hello: how TLS was begun; None = plain text.
    """

    address: str
    hello: Hello | None
