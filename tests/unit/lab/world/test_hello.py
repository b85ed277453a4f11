"""Browsers are told from other clients by what they say first."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import curl_cffi
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_lab.world import hello
from sonde_lab.world.hello import Hello

NAME = "www.platform.example"


def said(call: Callable[[int], Any]) -> bytes:
    """The first record that a client sends to a port of ours; it gets no answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def ask() -> None:
            with suppress(OSError, curl_cffi.exceptions.RequestException):
                call(server.getsockname()[1])

        client = threading.Thread(target=ask)
        client.start()
        connection, _ = server.accept()
        with connection:
            head = connection.recv(hello.RECORD_HEAD, socket.MSG_WAITALL)
            rest = connection.recv(hello.record_size(head) - len(head), socket.MSG_WAITALL)
        client.join()
    return head + rest


def curl(port: int, **options: Any) -> None:
    """Ask with libcurl."""
    url = f"https://{NAME}:{port}/"
    where = {curl_cffi.CurlOpt.RESOLVE: [f"{NAME}:{port}:127.0.0.1"]}
    with curl_cffi.Session(curl_options=where, trust_env=False, **options) as session:
        session.get(url, timeout=5)


def python(port: int) -> None:
    """Ask with Python's own TLS."""
    context = ssl.create_default_context()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        context.wrap_socket(connection, server_hostname=NAME)


@pytest.mark.parametrize("profile", ["chrome", "chrome131_android", "firefox", "safari", "edge101"])
def test_a_browser_is_known(profile: str) -> None:
    """Whatever browser libcurl imitates, its hello is a browser's, and the name is in it."""
    found = hello.parse(said(lambda port: curl(port, impersonate=profile)))
    assert found is not None
    assert (found.name, found.browser) == (NAME, True)


@pytest.mark.parametrize("ask", [python, curl], ids=["python", "curl"])
def test_a_program_is_no_browser(ask: Callable[[int], None]) -> None:
    """Python's TLS and libcurl's own are not taken for a browser's."""
    found = hello.parse(said(ask))
    assert found is not None
    assert (found.name, found.browser) == (NAME, False)


def test_a_hello_cut_anywhere_is_none() -> None:
    """No beginning of a ClientHello is taken for a whole one."""
    whole = said(python)
    assert hello.parse(whole) is not None
    assert [size for size in range(len(whole)) if hello.parse(whole[:size]) is not None] == []


@given(st.binary(min_size=hello.RECORD_HEAD, max_size=400))
def test_garbage_is_no_hello_and_no_error(data: bytes) -> None:
    """Whatever comes, the answer is a hello or None."""
    assert isinstance(hello.parse(data), Hello | None)
    assert hello.record_size(data) >= 0


def test_grease_is_what_its_rfc_lists() -> None:
    """Sixteen numbers of sixteen bits mean nothing."""
    numbers = [number for number in range(1 << 16) if hello.is_grease(number)]
    assert (len(numbers), numbers[0], numbers[-1]) == (16, 0x0A0A, 0xFAFA)
