"""The world server answers by who calls, remembers what it gave, fails as told, and notes everything."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import curl_cffi
import pytest
from curl_cffi import CurlECode, CurlOpt

from sonde_lab.certificates import Authority
from sonde_lab.world import relay
from sonde_lab.world.atlas import Atlas, Changes
from sonde_lab.world.leaves import Leaves
from sonde_lab.world.play import Books, Play
from sonde_lab.world.server import Server
from sonde_lab.world.shelf import Shelf
from sonde_unlock.reading import read_cassettes

HOST = "api.film.example"
SE, JP, PROXY = "127.0.0.2", "127.0.0.3", "127.0.0.4"
CASSETTES = """
schema: unlock-cassettes/1
slug: film
provenance: synthetic
captured_at: 2026-11-21
cassettes:
  - behaviour: open
    country: SE
    exchanges:
      - match: {host: api.film.example, path: /token, method: POST, body: device}
        reply: {status: 200, json: {token: <<session>>}}
        mints: session
      - match: {host: api.film.example, path: /me}
        consumes: session
        reply: {status: 200, json: {country: SE}, headers: {set-cookie: [a=1, b=2]}}
    expect: {verdict: available, region: SE}
  - behaviour: choosy
    country: JP
    tls: browser
    plain: {status: 403, text: No.}
    exchanges:
      - {match: {host: api.film.example, path: /me}, reply: {status: 200, text: Welcome}}
    expect: {verdict: available, region: JP}
"""


@dataclass
class World:
    """One that serves on loopback.

    Attributes:
        port, proxied: of itself, and of a relay to it that calls from `PROXY`.
        folder: holds ca.pem, changes.json, requests and unmatched.
        loop: that it runs in.
    """

    port: int
    proxied: int
    folder: Path
    loop: asyncio.AbstractEventLoop

    def ask(self, source: str, path: str, *, port: int = 0, **options: Any) -> curl_cffi.Response:
        """Ask as a browser does, from an address."""
        port = port or self.port
        where = {CurlOpt.RESOLVE: [f"{HOST}:{port}:127.0.0.1"], CurlOpt.INTERFACE: source}
        options = {"impersonate": "chrome", "timeout": 5, "method": "GET"} | options
        with curl_cffi.Session(
            curl_options=where, verify=str(self.folder / "ca.pem"), trust_env=False
        ) as one:
            return one.request(url=f"https://{HOST}:{port}{path}", **options)

    def change(self, behaviour: str) -> None:
        """Let the platform be something else in Sweden."""
        new = self.folder / "changes.new"
        new.write_text(Changes(countries={"SE": {"film": behaviour}}).written())
        new.replace(self.folder / "changes.json")

    def notes(self, book: str) -> list[dict[str, Any]]:
        """Read a book of it."""
        return [json.loads(line) for line in (self.folder / book).read_text().splitlines()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world in which a platform is open in Sweden, and for browsers in Japan."""
    ready: Future[World] = Future()
    ended = asyncio.Event()
    serving = threading.Thread(target=asyncio.run, args=(serve(tmp_path, ready, ended),))
    serving.start()
    up = ready.result(5)
    yield up
    up.loop.call_soon_threadsafe(ended.set)
    serving.join()


async def serve(folder: Path, ready: Future[World], ended: asyncio.Event) -> None:
    """Serve until `ended`."""
    authority = Authority.new("A world")
    (folder / "ca.pem").write_text(authority.pem)
    homes = {SE: "SE", JP: "JP", PROXY: "JP"}
    atlas = Atlas.new({"countries": {"SE": {"film": "open"}, "JP": {"film": "choosy"}}}, homes)
    with (folder / "requests").open("a") as requests, (folder / "unmatched").open("a") as unmatched:
        shelf, books = Shelf(read_cassettes(CASSETTES, "film")), Books(requests, unmatched)
        play = Play(shelf, atlas, folder / "changes.json", books)
        port = Server(Leaves(authority).context, play).listen("127.0.0.1", 0, tls=True)
        async with await relay.start(("127.0.0.1", 0), ("127.0.0.1", port), source=PROXY) as passed:
            proxied = passed.sockets[0].getsockname()[1]
            ready.set_result(World(port, proxied, folder, asyncio.get_running_loop()))
            await ended.wait()


def token(world: World, source: str) -> str:
    """Get one."""
    answer = world.ask(source, "/token", method="POST", json={"device": 1})
    return str(answer.json()["token"])


def test_a_token_is_good_for_its_caller_alone(world: World) -> None:
    """A later step is answered with the token of an earlier one, not without, nor with another caller's."""
    mine = {"authorization": f"Bearer {token(world, SE)}"}
    answer = world.ask(SE, "/me", headers=mine)
    assert (answer.status_code, answer.json()) == (200, {"country": "SE"})
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert world.ask(SE, "/me").status_code == 599
    world.change("open")
    assert world.ask("127.0.0.9", "/me", headers=mine).status_code == 599


def test_what_is_not_answered_is_noted(world: World) -> None:
    """A request that no cassette answers is in the book of those, with who asked what; the others are not."""
    token(world, SE)
    assert world.notes("unmatched") == []
    world.ask(SE, "/other?x=1", method="POST", data=b"words")
    (line,) = world.notes("unmatched")
    told = {key: line[key] for key in ("from", "country", "host", "method", "path", "body", "browser")}
    assert told == {
        "from": SE,
        "country": "SE",
        "host": HOST,
        "method": "POST",
        "path": "/other?x=1",
        "body": "words",
        "browser": True,
    }
    assert [one["answer"] for one in world.notes("requests")] == [200, 599]


def test_only_a_browser_gets_in(world: World) -> None:
    """A world that looks at the ClientHello refuses a program and lets a browser in, on the same address."""
    assert world.ask(JP, "/me").text == "Welcome"
    refused = world.ask(JP, "/me", impersonate=None)
    assert (refused.status_code, refused.text) == (403, "No.")


def test_a_proxy_is_who_calls(world: World) -> None:
    """Through the relay the world sees the relay's address and its country, and the caller's own TLS."""
    assert world.ask(SE, "/me", port=world.proxied).text == "Welcome"
    assert [(line["from"], line["country"]) for line in world.notes("requests")] == [(PROXY, "JP")]


@pytest.mark.parametrize(
    ("mishap", "code"),
    [
        ("lab-timeout", CurlECode.OPERATION_TIMEDOUT),
        ("lab-slow-body", CurlECode.OPERATION_TIMEDOUT),
        ("lab-reset", CurlECode.RECV_ERROR),
        ("lab-tls-alert", CurlECode.SSL_CONNECT_ERROR),
        ("lab-truncated", CurlECode.PARTIAL_FILE),
    ],
)
def test_a_mishap_is_what_its_name_says(world: World, mishap: str, code: CurlECode) -> None:
    """Each mishap comes to the client as the failure that libcurl has for it."""
    world.change(mishap)
    with pytest.raises(curl_cffi.exceptions.RequestException) as caught:
        world.ask(SE, "/me", timeout=1)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("mishap", "status", "word"),
    [
        ("lab-empty", 200, ""),
        ("lab-consent", 200, "Before you continue"),
        ("lab-challenge", 200, "Just a moment"),
        ("lab-changed", 200, "Welcome"),
        ("lab-rate-limited", 429, "Too many"),
    ],
)
def test_a_page_of_a_mishap_comes_whatever_is_asked(
    world: World, mishap: str, status: int, word: str
) -> None:
    """Changes hold from the next request on, for each path, and go when their file goes."""
    world.change(mishap)
    for path in ("/", "/me?x=y"):
        answer = world.ask(SE, path)
        assert (answer.status_code, word in answer.text) == (status, True)
    (world.folder / "changes.json").unlink()
    assert token(world, SE).startswith("sonde-token")


def test_whoever_speaks_no_tls_is_left(world: World) -> None:
    """Plain text, half a hello and nothing at all end the connection, and the next caller is served."""
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01", b""):
        with socket.create_connection(("127.0.0.1", world.port), timeout=5) as connection:
            connection.sendall(words)
            with suppress(OSError):  # it has left already
                connection.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):  # it has not read all that was sent
                assert connection.recv(1) == b""
    assert token(world, SE)


@pytest.mark.parametrize("name", ["www.film.example", "resolver.example"])
def test_every_name_has_a_certificate_of_its_own(world: World, name: str) -> None:
    """Whatever name is asked for, a client that knows the authority takes the certificate."""
    context = ssl.create_default_context(cafile=str(world.folder / "ca.pem"))
    connection = socket.create_connection(("127.0.0.1", world.port), timeout=5)
    with context.wrap_socket(connection, server_hostname=name) as tls:
        assert ("DNS", name) in tls.getpeercert()["subjectAltName"]
