"""Under which address others see us."""

import http.server
import threading
from collections.abc import Iterator

import pytest

from sonde_agent.net.caller_address import NoCallerAddress, address_in, ask_caller_address
from sonde_agent.net.dial import Deadline


def permit(_address: str, _port: int | None) -> str | None:
    """A policy that allows all."""
    return None


@pytest.fixture
def url() -> Iterator[str]:
    """A server that answers with the caller's address."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/ip?x=1" else 404)
            self.end_headers()
            self.wfile.write(f"{self.client_address[0]}\n".encode())

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_tells_our_address(url: str) -> None:
    """The address in the answer is given, with the time to its first byte."""
    caller = ask_caller_address(f"{url}/ip?x=1", 0, Deadline(5), permit)
    assert caller.address == "127.0.0.1"
    assert 0 < caller.first_byte_ms < 5000


def test_no_answer_is_told_in_words(url: str) -> None:
    """A refusal by the policy, a wrong status, a closed port and a missing family are told apart."""
    for asked, family, refuse, words in (
        (url, 0, lambda _a, _p: "not there", "not there"),
        (f"{url}/other", 0, permit, "404"),
        ("http://127.0.0.1:1/ip", 0, permit, "refused"),
        (url, 6, permit, "IPv6"),
    ):
        with pytest.raises(NoCallerAddress, match=words):
            ask_caller_address(asked, family, Deadline(5), refuse)


@pytest.mark.parametrize(
    ("answer", "address"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n192.0.2.7", "192.0.2.7"),
        (b"HTTP/1.0 200 OK\r\nA: b\r\n\r\n 2001:DB8::0007\nmore", "2001:db8::7"),
    ],
)
def test_the_first_word_of_the_body_is_the_address(answer: bytes, address: str) -> None:
    """Whatever else an answer says, its body begins with the address, given as it is usually written."""
    assert address_in(answer) == address


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 403 No\r\n\r\n1.2.3.4",
    ],
)
def test_an_answer_without_an_address_is_none(answer: bytes) -> None:
    """No body, no status 200, no address: nobody said who we are."""
    with pytest.raises(NoCallerAddress):
        address_in(answer)
