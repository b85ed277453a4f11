"""[[notify]]: where notices go, which of them, and how they are sent there."""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

import attrs

from sonde_collector.inventory.model import rules
from sonde_collector.inventory.model.rules import Key, Port, at_most
from sonde_proto.toml_config import duration_between, not_empty
from sonde_proto.units import Duration

_NONE, _10_S, _MINUTE, _DAY = Duration(0.0), Duration(10.0), Duration(60.0), Duration(86_400.0)
Severity = Literal["info", "warning", "critical"]


def _on_the_collector(text: str) -> str:
    if not PurePosixPath(text).is_absolute():
        raise ValueError(
            f'must be an absolute path: a file on every host that runs a collector, not "{text}"'
        )
    return text


def _never_inline(name: str) -> Any:
    def rule(_: str) -> str:
        raise ValueError(
            f"is a secret, and secrets stand in no fleet file and no database: put it into a file on the "
            f"collectors' hosts and name that file in {name}_file"
        )

    return rule


def _url(text: str) -> str:
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise ValueError("must hold no user name or password: write user and password_file")
    return rules.http_url(text)


def _mail(text: str) -> str:
    local, at, domain = text.rpartition("@")
    if not (local and at and domain and text.isascii()) or any(
        c in '<>,;"' or c.isspace() or not c.isprintable() for c in text
    ):
        raise ValueError(f'must be a bare mail address such as "ops@example.com", not "{text}"')
    return text


SecretFile = Annotated[str, _on_the_collector]
Globs = Annotated[tuple[Annotated[str, not_empty], ...], not_empty]


@attrs.frozen
class Notify:
    """A channel. Files of secrets are files on the collectors' hosts, read at each message.

    Attributes:
        url: json, slack, discord: where to POST; alertmanager, telegram: the server; ntfy: server and topic.
        url_file: holds the URL: those of slack, discord and public ntfy topics are secrets themselves.
        secret_file: json: what signs each message.
        token_file: json, alertmanager, ntfy: a bearer token; telegram: the bot's token.
        user, password_file: json, alertmanager, ntfy, smtp: a login.
        chat: telegram: the chat's id or @name.
        host, port, tls, sender, to: smtp.
        ca_file: a private CA, in PEM.
        kinds, subjects: globs; None = all.
        severities: None = all.
        resolved: whether the end of what was told is told too.
        min_interval: between two messages; what comes meanwhile goes together.
        timeout: of one attempt.
        retry_for: how long a message is tried before it is given up.
        repeat: alertmanager: how often what goes on is said again, as it asks of its clients.
    """

    key: Key
    kind: Literal["json", "alertmanager", "slack", "discord", "telegram", "ntfy", "smtp"]
    url: Annotated[str, _url] | None = None
    url_file: SecretFile | None = None
    secret_file: SecretFile | None = None
    token_file: SecretFile | None = None
    user: Annotated[str, at_most(200)] | None = None
    password_file: SecretFile | None = None
    chat: Annotated[str, rules.no_space] | None = None
    host: Annotated[str, rules.no_space] | None = None
    port: Port | None = None
    tls: Literal["starttls", "tls", "none"] = "starttls"
    sender: Annotated[str, _mail] | None = None
    to: tuple[Annotated[str, _mail], ...] = ()
    ca_file: SecretFile | None = None
    kinds: Globs | None = None
    subjects: Globs | None = None
    severities: Annotated[tuple[Severity, ...], not_empty] | None = None
    resolved: bool = True
    min_interval: Annotated[Duration, duration_between("0s", "1d")] = _NONE
    timeout: Annotated[Duration, duration_between("100ms", "2m")] = _10_S
    retry_for: Annotated[Duration, duration_between("1s", "30d")] = _DAY
    repeat: Annotated[Duration, duration_between("1s", "1h")] = _MINUTE
    secret: Annotated[str, _never_inline("secret")] | None = None
    token: Annotated[str, _never_inline("token")] | None = None
    password: Annotated[str, _never_inline("password")] | None = None

    @classmethod
    def problems(cls, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """Give what the keys must satisfy together."""
        kind = fields.get("kind")
        if kind is None:
            return
        for name in _NEEDED.get(kind, ()):
            if name in fields and not fields[name]:
                yield name, f'is required for kind = "{kind}"'
        for name, kinds in _ONLY_FOR.items():
            if kind not in kinds and fields.get(name) not in (None, (), attrs.fields_dict(cls)[name].default):
                yield name, f'has no meaning for kind = "{kind}"'
        yield from _url_problems(kind, fields)
        if fields.get("password_file") is not None and fields.get("user", "") is None:
            yield "user", "is required with password_file"
        if fields.get("password_file") is not None and fields.get("token_file") is not None:
            yield "token_file", "can't be joined with user and password_file: choose one"


def _url_problems(kind: str, fields: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if kind in ("smtp", "telegram") or not fields.keys() >= {"url", "url_file"}:
        return
    url, url_file, secret = fields["url"], fields["url_file"], kind in _SECRET_URLS
    if url is not None and secret:
        yield (
            "url",
            f"of {kind} is a secret: put it into a file on the collectors' hosts and name it in url_file",
        )
    elif url is not None and url_file is not None:
        yield "url_file", "can't be joined with url: choose one"
    elif url is None and url_file is None:
        yield "url_file", f'is required for kind = "{kind}"' + ("" if secret else ", or url")


_SECRET_URLS = ("slack", "discord")
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "telegram": ("token_file", "chat"),
    "smtp": ("host", "sender", "to"),
}
_HTTP = ("json", "alertmanager", "slack", "discord", "telegram", "ntfy")
# Keys that mean something for these kinds only.
_ONLY_FOR: Mapping[str, tuple[str, ...]] = {
    "url": _HTTP,
    "url_file": ("json", "alertmanager", "slack", "discord", "ntfy"),
    "secret_file": ("json",),
    "token_file": ("json", "alertmanager", "ntfy", "telegram"),
    "user": ("json", "alertmanager", "ntfy", "smtp"),
    "password_file": ("json", "alertmanager", "ntfy", "smtp"),
    "chat": ("telegram",),
    "host": ("smtp",),
    "port": ("smtp",),
    "tls": ("smtp",),
    "sender": ("smtp",),
    "to": ("smtp",),
    "repeat": ("alertmanager",),
}


def from_spec(key: str, spec: Mapping[str, Any]) -> Notify:
    """Give a channel as it was kept; what a newer collector wrote beside is left out. **Pure**."""
    known = attrs.fields_dict(Notify)
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in spec.items()
        if name in known
    }
    return Notify(key=key, **values)
