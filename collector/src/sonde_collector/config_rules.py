"""Rules of single keys of collector.toml: what an address, a URL or a path must be."""

import ipaddress
import os
from contextvars import ContextVar
from pathlib import Path
from urllib.parse import urlsplit

_LAST_PORT = 65_535

# The folder of the file being read: relative paths in it start there, not where a command happens to be run.
folder: ContextVar[Path] = ContextVar("folder")


def split_address(text: str) -> tuple[str, int]:
    """Give host and port of "HOST:PORT" or "[IPv6]:PORT". **Pure**.

    Raises:
        ValueError: `text` is no such address; the message says how to write one.
    """
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    bare_ipv6 = ":" in host and f"[{host}]" not in text
    if (
        not colon
        or not host
        or bare_ipv6
        or not (port.isascii() and port.isdigit())
        or int(port) > _LAST_PORT
    ):
        raise ValueError(f'must be "ADDRESS:PORT" such as "127.0.0.1:7443" or "[::1]:7443", not "{text}"')
    return host, int(port)


def is_local(listen: str) -> bool:
    """Tell whether only this host can reach `listen`: a loopback address or a unix socket. **Pure**."""
    if listen.startswith("unix:"):
        return True
    host, _ = split_address(listen)
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def grpc_address(text: str) -> str:
    """Be a rule: an address that agents connect to."""
    if text.startswith("unix:"):
        if not text.removeprefix("unix:").startswith("/"):
            raise ValueError(
                f'must name an absolute path, such as "unix:/run/sonde/collector.sock", not "{text}"'
            )
        return text
    split_address(text)
    return text


def http_address(text: str) -> str:
    """Be a rule: an address of TCP."""
    if text.startswith("unix:"):
        raise ValueError(f'must be "ADDRESS:PORT" such as "127.0.0.1:7480", not "{text}"')
    split_address(text)
    return text


def database_url(text: str) -> str:
    """Be a rule: where PostgreSQL is."""
    if text == "embedded:":
        return text
    try:
        scheme = urlsplit(text).scheme
    except ValueError:
        scheme = ""
    if scheme not in ("postgresql", "postgres"):
        raise ValueError('must be "embedded:" or "postgresql://USER@HOST:PORT/DATABASE"')
    return text


def http_url(text: str) -> str:
    """Be a rule: something that can be called by HTTP."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError('must be a URL such as "https://example.com/path"')
    return text


def archive_url(text: str) -> str:
    """Be a rule: where archive files go."""
    if text.startswith("s3://"):
        bucket = text.removeprefix("s3://").partition("/")[0]
        if not bucket or "@" in text or "?" in text:
            raise ValueError(
                f'must be "s3://BUCKET" or "s3://BUCKET/PREFIX", not "{text}": endpoint, region and '
                "credentials are keys of their own"
            )
        return text.rstrip("/")
    if "://" in text:
        raise ValueError(f'must be a folder, or "s3://BUCKET/PREFIX", not "{text}"')
    return str(in_folder(Path(text))) if text else text


def endpoint_url(text: str) -> str:
    """Be a rule: a server, without a path."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.path.strip("/")
    except ValueError:
        good = False
    if not good:
        raise ValueError(f'must be "https://HOST" or "https://HOST:PORT", not "{text}"')
    return text.rstrip("/")


def in_folder(path: Path) -> Path:
    """Be a rule: a path, relative to the file being read."""
    return (folder.get(Path()) / path).absolute()


def readable(path: Path) -> Path:
    """Be a rule: a file that is there and that this process may read."""
    path = in_folder(path)
    if not path.is_file() or not os.access(path, os.R_OK):
        raise ValueError(f'must be a file that can be read; "{path}" is not')
    return path
