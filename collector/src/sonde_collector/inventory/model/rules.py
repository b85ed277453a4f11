"""What a single value of fleet.toml must be; rules of `toml_config`. **Pure**, all of it."""

import ipaddress
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from sonde_proto.toml_config import between, not_empty

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?"
)
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,29}")
_DNS_TYPE = re.compile(r"[A-Z0-9]{1,10}")


def key(longest: int) -> Callable[[str], str]:
    """Give the rule of a stable key: at most `longest` characters of a closed alphabet."""

    def rule(text: str) -> str:
        if len(text) > longest:
            raise ValueError(f'must be at most {longest} characters, "{text}" has {len(text)}')
        if not _KEY.fullmatch(text):
            raise ValueError(
                f'must be letters, digits, ".", "_" and "-", beginning with a letter or digit, not "{text}"'
            )
        return text

    return rule


def no_dot(text: str) -> str:
    """Be a rule: a key without a dot."""
    if "." in text:
        raise ValueError(f'must be letters, digits, "_" and "-", not "{text}"')
    return text


def at_most(longest: int) -> Callable[[str], str]:
    """Give the rule of a text for people: 1 to `longest` characters, not all spaces."""

    def rule(text: str) -> str:
        if not text.strip() or len(text) > longest:
            raise ValueError(f"must be 1 to {longest} characters, not {len(text)}")
        return text

    return rule


def is_address(text: str) -> bool:
    """Tell whether `text` is an IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def address(text: str) -> str:
    """Be a rule: an IPv4 or IPv6 address, kept in its shortest form."""
    if not is_address(text):
        raise ValueError(f'must be an IPv4 or IPv6 address, not "{text}"')
    return str(ipaddress.ip_address(text))


def hostname(text: str) -> str:
    """Be a rule: a host name, kept in small letters."""
    if is_address(text) or not NAME.fullmatch(text):
        raise ValueError(f'must be a host name, not "{text}"; an address goes into ip_address')
    return text.lower().rstrip(".")


def doubles(values: Iterable[Any]) -> list[Any]:
    """Give the values that occurred before. **Pure**."""
    seen: set[Any] = set()
    return [value for value in values if value in seen or seen.add(value)]  # type: ignore[func-returns-value]


def no_space(text: str) -> str:
    """Be a rule: printable characters without a space."""
    if not text or any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError("must be printable characters without a space")
    return text


def http_url(text: str) -> str:
    """Be a rule: an http or https URL without user name and password."""
    try:
        url = urlsplit(text)
        good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        good = False
    if not good or any(c.isspace() for c in text):
        raise ValueError(f'must be a URL such as "https://example.com/path", not "{text}"')
    if url.username is not None or url.password is not None:
        raise ValueError("must hold no user name or password; secrets go into a file named in header_files")
    return text


def regex(text: str) -> str:
    """Be a rule: a regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return text


def slug(text: str) -> str:
    """Be a rule: the slug of a platform."""
    if not _SLUG.fullmatch(text):
        raise ValueError(
            f'must be 1 to 30 small letters, digits and "-", such as "bbc-iplayer", not "{text}"'
        )
    return text


def dns_type(text: str) -> str:
    """Be a rule: the name of a DNS record type."""
    if not _DNS_TYPE.fullmatch(text):
        raise ValueError(f'must be a record type such as "A" or "AAAA", not "{text}"')
    return text


def dns_server(text: str) -> str:
    """Be a rule: an address, with or without a port."""
    host, colon, port = text.rpartition(":")
    if is_address(text) or (
        colon and is_address(host.strip("[]")) and port.isdigit() and 0 < int(port) < 1 << 16
    ):
        return text
    raise ValueError(f'must be "ADDRESS" or "ADDRESS:PORT", not "{text}"')


Key = Annotated[str, key(100)]
Slug = Annotated[str, slug]
Port = Annotated[int, between(1, 65_535)]
Family = Literal[4, 6]
# "*", or keys and globs over keys.
Chosen = Literal["*"] | Annotated[tuple[Annotated[str, not_empty], ...], not_empty]
