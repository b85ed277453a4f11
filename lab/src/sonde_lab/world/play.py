"""What the world answers to whom: a player of cassettes for each caller, changed while it runs."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from sonde_lab.world.atlas import Atlas, Changes
from sonde_lab.world.hello import Hello
from sonde_lab.world.http import Asked
from sonde_lab.world.shelf import Shelf
from sonde_unlock.cassette import Cassette, Fault, FaultKind, Incoming, Player, Reply

UNMATCHED = 599
"""The status that no platform uses: a rule asked for what no cassette answers."""
_WORDS = 200


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        address: where from.
        hello: how TLS was begun; None = plain text.
    """

    address: str
    hello: Hello | None


@dataclass(frozen=True, slots=True)
class Books:
    """Where it is noted who asked for what, a line of JSON each.

    Attributes:
        requests: all of them.
        unmatched: those that nothing answers.
    """

    requests: TextIO
    unmatched: TextIO


class Play:
    """The world, for as long as it runs.

    Args:
        shelf: what can be played.
        atlas: what is played where.
        changes: a file of `Changes`, read again whenever it is another one.
        books: of what was asked.
    """

    def __init__(self, shelf: Shelf, atlas: Atlas, changes: Path, books: Books) -> None:
        self._shelf, self._atlas, self._file, self._books = shelf, atlas, changes, books
        self._changes, self._seen = Changes(), (0, 0)
        self._players: dict[tuple[str, tuple[tuple[str, str], ...]], Player] = {}

    def alerts(self, caller: Caller, name: str) -> bool:
        """Tell whether TLS with a caller ends before it begins, for that name."""
        return any(
            isinstance(recorded.outcome, Fault)
            and recorded.outcome.kind is FaultKind.TLS_ALERT
            and recorded.match.host == name
            for cassette in self._due(caller)
            for recorded in cassette.exchanges
        )

    def answer(self, caller: Caller, asked: Asked) -> Reply | Fault:
        """Answer a request, and note it."""
        incoming = Incoming(
            method=asked.method,
            host=asked.host,
            path_with_query=asked.target,
            headers=asked.headers,
            body=asked.body,
            browser_tls=caller.hello is not None and caller.hello.browser,
        )
        found = self._player(caller).answer(incoming)
        self._note(caller, incoming, found)
        return found or Reply(UNMATCHED, (), b"the world knows no answer\n")

    def _player(self, caller: Caller) -> Player:
        """Give the caller's own: it holds the tokens that he was given for as long as nothing changes."""
        due = self._due(caller)
        key = caller.address, tuple((one.slug, one.behaviour) for one in due)
        if key not in self._players:
            for old in [one for one in self._players if one[0] == caller.address]:
                del self._players[old]
            self._players[key] = Player(due)
        return self._players[key]

    def _due(self, caller: Caller) -> list[Cassette]:
        self._look()
        family = 6 if ":" in caller.address else 4
        behaviours = self._atlas.behaviours(self._atlas.country(caller.address, self._changes), self._changes)
        found = (self._shelf.cassette(slug, name, family) for slug, name in sorted(behaviours.items()))
        return [one for one in found if one is not None]

    def _look(self) -> None:
        """Take up changes."""
        try:
            said = self._file.stat()
            if (said.st_ino, said.st_mtime_ns) != self._seen:
                self._changes = Changes.read(self._file.read_text())
                self._seen = said.st_ino, said.st_mtime_ns
        except FileNotFoundError:
            self._changes, self._seen = Changes(), (0, 0)
        except (OSError, ValueError) as error:
            print(f"the changes can't be read: {error}", file=sys.stderr, flush=True)

    def _note(self, caller: Caller, incoming: Incoming, found: Reply | Fault | None) -> None:
        line: dict[str, Any] = {
            "at_s": round(time.time(), 3),
            "from": caller.address,
            "country": self._atlas.country(caller.address, self._changes),
            "browser": incoming.browser_tls,
            "method": incoming.method,
            "host": incoming.host,
            "path": incoming.path_with_query,
            "answer": found.kind if isinstance(found, Fault) else found.status if found else UNMATCHED,
        }
        books = [self._books.requests]
        if found is None:
            line |= {"headers": incoming.headers, "body": incoming.body.decode(errors="replace")[:_WORDS]}
            books.append(self._books.unmatched)
        for book in books:
            book.write(json.dumps(line) + "\n")
            book.flush()
