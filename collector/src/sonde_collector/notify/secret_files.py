"""The files of secrets that a channel names, read anew for each message; and texts without what they hold."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from sonde_collector.inventory.model import Notify
from sonde_collector.notify.message import Secrets, Unsendable

_LONGEST = 8192  # bytes: a secret that is longer is some other file
_SHORTEST = 4  # characters: of a shorter one hiding would hide words


def read_secrets(channel: Notify) -> Secrets:
    """Give what the channel's files hold, without the white space around it.

    Raises:
        Unsendable: a file can't be read, is empty, or no text.
    """
    return Secrets(
        url=_read("url_file", channel.url_file),
        secret=_read("secret_file", channel.secret_file),
        token=_read("token_file", channel.token_file),
        password=_read("password_file", channel.password_file),
    )


def read_secret(name: str, path: Path) -> str:
    """Give what one file holds.

    Args:
        name: what the file is, for the message.
        path: of it.

    Raises:
        Unsendable: it can't be read, is empty, or no text.
    """
    try:
        with path.open("rb") as file:
            held = file.read(_LONGEST + 1)
    except OSError as error:
        raise Unsendable(f'{name} "{path}": {error.strerror or "can not be read"}') from None
    try:
        text = held.decode().strip() if len(held) <= _LONGEST else ""
    except UnicodeDecodeError:
        text = ""
    if not text or not text.isprintable():
        raise Unsendable(f'{name} "{path}" holds no single line of text')
    return text


def _read(name: str, path: str | None) -> str | None:
    return None if path is None else read_secret(name, Path(path))


def hidden(secrets: Secrets) -> list[str]:
    """Give every text that must not be shown, the longest first. **Pure**."""
    texts = {secrets.secret, secrets.token, secrets.password, secrets.url}
    if secrets.url is not None:
        with contextlib.suppress(ValueError):
            parts = urlsplit(secrets.url)
            texts |= {parts.path.strip("/"), parts.query, *parts.path.split("/"), parts.password}
    return sorted((text for text in texts if text and len(text) >= _SHORTEST), key=len, reverse=True)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Give a text without any of these. **Pure**.

    Args:
        text: what may hold them.
        secrets: the longest first.
    """
    for secret in secrets:
        text = text.replace(secret, "…")
    return text
