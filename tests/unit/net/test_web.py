"""What carries unlock requests, against a real HTTPS server: the same promises for both carriers."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.web_server import BIG, WebServer, serving

from sonde_agent.net.trust import Trust
from sonde_agent.net.web import Place, Web
from sonde_agent.net.web_browser import BrowserWeb
from sonde_agent.net.web_plain import PlainWeb
from sonde_unlock.exchange import Error, Exchange, Request

NAME = "web.example"
NAMES = [NAME, "alert.example", "silent.example"]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WebServer]:
    """A server on both families of loopback."""
    with serving(tmp_path, NAMES, ("127.0.0.1", "::1")) as up:
        yield up


@pytest.fixture(params=[BrowserWeb, PlainWeb])
def make(request: pytest.FixtureRequest) -> Callable[[Trust], Web]:
    """Each carrier in turn."""
    carrier: Callable[[Trust], Web] = request.param
    return carrier


@pytest.fixture
def web(make: Callable[[Trust], Web], server: WebServer) -> Iterator[Web]:
    """A carrier that believes the server's authority."""
    trust = Trust(server.ca)
    yield make(trust)
    trust.close()


def ask(
    web: Web,
    server: WebServer,
    path: str = "/",
    *,
    name: str = NAME,
    address: str = "127.0.0.1",
    within_s: float = 5,
    **fields: object,
) -> Exchange:
    """Ask the server once."""
    request = Request("s", fields.pop("method", "GET"), f"https://{name}{path}", **fields)  # type: ignore[arg-type]
    return web.fetch(request, Place("https", name, server.port, path, (address,)), within_s)


def test_an_answer_comes_with_its_phases_and_where_it_came_from(web: Web, server: WebServer) -> None:
    """Status, headers in lower case, body, every phase, the address that was connected to."""
    got = ask(web, server, "/cookie")
    assert (got.status, got.body, got.error, got.truncated) == (200, b"cookie", None, False)
    assert got.header("set-cookie") == "a=1"
    assert set(got.phases) == {"connect", "tls", "first_byte", "transfer"}
    assert (got.address, got.http_version) == ("127.0.0.1", "1.1")
    assert sum(got.phases.values()) <= got.elapsed_ms + 1


def test_the_request_is_sent_as_the_rule_has_it(web: Web, server: WebServer) -> None:
    """Method, body and headers; no content type that nobody gave, no cookie of an earlier answer."""
    ask(web, server, "/cookie")
    ask(web, server, "/x?q=1", method="POST", body=b"{}", headers=(("X-Own", "yes"), ("Cookie", "b=2")))
    seen = server.seen[-1]
    assert (seen.method, seen.target, seen.body) == ("POST", "/x?q=1", b"{}")
    assert seen.headers["x-own"] == "yes"
    assert seen.headers["cookie"] == "b=2"
    assert seen.headers["host"] == f"{NAME}:{server.port}"
    assert "content-type" not in seen.headers
    ask(web, server, "/y", method="POST")
    assert server.seen[-1].headers["content-length"] == "0"


def test_a_redirect_is_an_answer_and_not_followed(web: Web, server: WebServer) -> None:
    """Redirects are the engine's business: one hop, one connection."""
    got = ask(web, server, "/redirect", profile="browser")
    assert (got.status, got.header("location")) == (302, "/elsewhere")
    assert [seen.target for seen in server.seen] == ["/redirect"]


def test_the_body_is_cut_at_its_bound(web: Web, server: WebServer) -> None:
    """The beginning is kept and said to be one; what is exactly as long is whole."""
    cut = ask(web, server, "/big", max_body=1000)
    assert (len(cut.body), cut.truncated, cut.status) == (1000, True, 200)
    whole = ask(web, server, "/big", max_body=BIG)
    assert (len(whole.body), whole.truncated) == (BIG, False)


def test_a_packed_body_is_unpacked_within_its_bound(web: Web, server: WebServer) -> None:
    """Twenty megabytes of zeros in twenty kilobytes fill no memory."""
    for profile in ("plain", "browser", "android"):
        assert ask(web, server, "/gzip", profile=profile).body == b"unpacked"
        bomb = ask(web, server, "/bomb", profile=profile, max_body=5000)
        assert (len(bomb.body), bomb.truncated) == (5000, True)


@pytest.mark.parametrize("profile", ["plain", "browser"])
def test_each_fault_has_its_name(web: Web, server: WebServer, profile: str) -> None:
    """Reset, alert, refusal and another's certificate are told apart, and none is a status."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = WebServer(closed.getsockname()[1], server.ca)
        told = {
            "reset": ask(web, server, "/reset", profile=profile),
            "alert": ask(web, server, name="alert.example", profile=profile),
            "refused": ask(web, nobody, profile=profile),
            "name": ask(web, server, name="other.example", profile=profile),
        }
    assert {what: got.error for what, got in told.items()} == {
        "reset": Error.RESET,
        "alert": Error.TLS,
        "refused": Error.REFUSED,
        "name": Error.CERTIFICATE,
    }
    assert all(got.status == 0 and got.detail for got in told.values())


@pytest.mark.parametrize("profile", ["plain", "browser"])
def test_an_answer_that_ends_early_is_one_and_is_cut(web: Web, server: WebServer, profile: str) -> None:
    """What came of it may hold no marker, and the engine must know that there was more."""
    got = ask(web, server, "/short", profile=profile)
    assert (got.status, got.body, got.truncated, got.error) == (200, b"early", True, None)


@pytest.mark.parametrize(("path", "name"), [("/slow", NAME), ("/drip", NAME), ("/", "silent.example")])
def test_every_wait_ends_in_its_time(web: Web, server: WebServer, path: str, name: str) -> None:
    """Silence before and after the handshake, and a body that drips, end at the bound as timeouts."""
    began = time.monotonic()
    got = ask(web, server, path, name=name, within_s=0.5)
    assert got.error is Error.TIMEOUT
    assert time.monotonic() - began < 2


def test_only_the_pinned_address_is_connected_to(web: Web, server: WebServer) -> None:
    """The name is looked up nowhere: the address alone decides, and with it the family."""
    assert ask(web, server, address="::1").address == "::1"
    assert [seen.address for seen in server.seen] == ["::1"]


def test_no_proxy_of_the_environment_is_used(
    web: Web, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the variables say, the request goes straight to its address."""
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, url)
        proxy.setblocking(False)
        assert ask(web, server).status == 200
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_an_unknown_authority_is_a_certificate_error(make: Callable[[Trust], Web], server: WebServer) -> None:
    """Without the file, the system's authorities alone are believed."""
    trust = Trust()
    got = ask(make(trust), server)
    trust.close()
    assert (got.status, got.error) == (0, Error.CERTIFICATE)


def test_a_browser_greets_as_one(server: WebServer) -> None:
    """The profile decides over the ClientHello: GREASE and HTTP/2 for a browser, neither for Python."""
    trust = Trust(server.ca)
    for carrier in (BrowserWeb(trust), PlainWeb(trust)):
        for profile in ("browser", "android", "plain"):
            assert ask(carrier, server, profile=profile).status == 200
    trust.close()
    hellos = [seen.hello for seen in server.seen]
    assert [_greases(hello) for hello in hellos] == [True, True, False, False, False, False]
    assert [b"\x02h2" in hello for hello in hellos] == [True, True, True, False, False, False]
    assert "Chrome" in server.seen[0].headers["user-agent"]
    assert "sec-ch-ua" in server.seen[0].headers
    assert server.seen[0].headers["accept-encoding"] == "gzip, deflate, br, zstd"
    assert "Mobile" in server.seen[1].headers["user-agent"]
    assert server.seen[2].headers["user-agent"] == "sonde"


def test_an_app_is_no_browser(server: WebServer) -> None:
    """A rule that names its own user agent gets no header of a browser beside it, but its greeting."""
    trust = Trust(server.ca)
    own = (("User-Agent", "App/1"), ("Accept-Language", "ja"))
    ask(BrowserWeb(trust), server, profile="android", headers=own)
    ask(BrowserWeb(trust), server, profile="browser", headers=own[1:])
    trust.close()
    app, page = server.seen
    assert _greases(app.hello)
    assert app.headers["user-agent"] == "App/1"
    assert not any(name.startswith("sec-") for name in app.headers)
    assert app.headers["accept-language"] == page.headers["accept-language"] == "ja"


def _greases(hello: bytes) -> bool:
    """Whether the first cipher suite is one of GREASE (RFC 8701)."""
    at = 5 + 4 + 2 + 32
    at += 1 + hello[at]  # the session's id
    first = hello[at + 2 : at + 4]
    return first[0] == first[1] and first[0] & 0x0F == 0x0A


def test_a_file_without_certificates_is_told(tmp_path: Path) -> None:
    """It is no authority, and nobody finds out by a failed handshake."""
    (tmp_path / "none.pem").write_text("nothing")
    with pytest.raises(ValueError, match="holds no PEM certificate"):
        Trust(tmp_path / "none.pem")
