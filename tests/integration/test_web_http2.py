"""The carrier of unlock requests against a server that speaks HTTP/2: nginx."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.programs import eventually
from support.web_server import authority

from sonde_agent.net.trust import Trust
from sonde_agent.net.web import Place
from sonde_agent.net.web_browser import BrowserWeb
from sonde_unlock.exchange import Exchange, Request

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
NAME = "web.example"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A server with one page and one redirect."""
    authority(tmp_path, [NAME])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    temporary = " ".join(
        f"{kind}_temp_path {tmp_path};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; {temporary}\n"
        f"server {{ listen 127.0.0.1:{port} ssl http2; server_name {NAME};\n"
        f"ssl_certificate {tmp_path}/leaf.pem; ssl_certificate_key {tmp_path}/leaf.pem;\n"
        "gzip on; gzip_min_length 1; gzip_types text/plain;\n"
        'location /page { default_type text/plain; return 200 "play now, by $server_protocol"; }\n'
        "location /away { return 302 /page; } } }\n"
    )
    with (tmp_path / "said").open("wb") as said:
        server = subprocess.Popen(
            ["nginx", "-e", tmp_path / "error.log", "-c", tmp_path / "nginx.conf"], stderr=said
        )
    try:
        eventually(lambda: _listens(port), 10, (tmp_path / "said").read_text)
        yield port
    finally:
        server.terminate()
        server.wait(10)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def ask(port: int, ca: Path, path: str, profile: str) -> Exchange:
    """Ask once."""
    trust = Trust(ca)
    try:
        place = Place("https", NAME, port, path, ("127.0.0.1",))
        return BrowserWeb(trust).fetch(Request("s", "GET", place.url, profile=profile), place, 5)
    finally:
        trust.close()


@pytest.mark.parametrize("profile", ["browser", "android", "plain"])
def test_http2_is_spoken_where_the_server_does(port: int, tmp_path: Path, profile: str) -> None:
    """The body is unpacked, headers are in lower case, and a redirect is an answer as over HTTP/1.1."""
    got = ask(port, tmp_path / "ca.pem", "/page", profile)
    assert (got.status, got.error, got.http_version) == (200, None, "2"), got
    assert got.body == b"play now, by HTTP/2.0"
    assert got.header("content-encoding") == "gzip"
    away = ask(port, tmp_path / "ca.pem", "/away", profile)
    assert (away.status, away.http_version) == (302, "2")
    assert away.header("location").endswith("/page")
