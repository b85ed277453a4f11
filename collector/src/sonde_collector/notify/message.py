"""Notices as each service wants them: what is sent, to where. **Pure**, all of it.

Source: Alertmanager API v2 (prometheus.io/docs/alerting/latest/alerts_api), Slack incoming webhooks
(docs.slack.dev/messaging), Discord "Execute Webhook", Telegram Bot API sendMessage, ntfy "Publish as JSON".
"""

import base64
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from attrs import field, frozen

from sonde_collector.inventory.model import Notify
from sonde_collector.notify import text
from sonde_collector.notify.event import Notice
from sonde_collector.notify.signature import sign

Body = Mapping[str, Any] | Sequence[Any]
_TELEGRAM = "https://api.telegram.org"


@frozen
class Secrets:
    """What the files of a channel hold; None: it names no such file."""

    url: str | None = field(default=None, repr=False)
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


@frozen
class Request:
    """One POST."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes


class Unsendable(ValueError):
    """A channel is set up so that nothing can be sent; the text says why, without any secret."""


MOST: Mapping[str, int] = {
    "json": 1,  # so that each event has an idempotency key and a signature of its own
    "alertmanager": 50,
    "slack": 20,
    "discord": 10,  # embeds of one message
    "telegram": 10,
    "ntfy": 10,
    "smtp": 50,
}
"""How many notices go into one message."""


def request(
    channel: Notify, secrets: Secrets, notices: Sequence[Notice], *, database: str, now: dt.datetime
) -> Request:
    """Give the POST that tells a channel of these notices.

    Args:
        channel: any but smtp.
        secrets: of it.
        notices: at least one, at most MOST of its kind.
        database: id of the database: event ids are its own.
        now: for the signature's time.

    Raises:
        Unsendable: its URL is none, or a secret would travel in plain text.
    """
    url, payload = _BUILDERS[channel.kind](channel, secrets, notices, database)
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":"), default=str).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "sonde-collector",
        "Idempotency-Key": text.identity(notices, database),
        **_login(channel, secrets),
    }
    if secrets.secret is not None:
        headers |= sign(secrets.secret, body, now)
    if "Authorization" in headers or channel.kind == "telegram":
        _only_private(url)
    return Request(url, headers, body)


def _login(channel: Notify, secrets: Secrets) -> Mapping[str, str]:
    if channel.kind != "telegram" and secrets.token is not None:
        return {"Authorization": f"Bearer {secrets.token}"}
    if channel.user is not None:
        pair = f"{channel.user}:{secrets.password or ''}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {}


def _only_private(url: str) -> None:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http" and not (host in ("localhost", "::1") or host.startswith("127.")):
        raise Unsendable(
            "a token or password would travel in plain text: use https, or a server on this host"
        )


def _url(channel: Notify, secrets: Secrets, default: str | None = None) -> str:
    url = secrets.url or channel.url or default or ""
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or any(c.isspace() or not c.isprintable() for c in url):
        raise Unsendable("url_file holds no URL" if secrets.url is not None else "there is no URL")
    return url


def _below(base: str, path: str) -> str:
    """Give a path below a URL's own."""
    parts = urlsplit(base)
    return urlunsplit((parts.scheme, parts.netloc, f"{parts.path.rstrip('/')}/{path}", parts.query, ""))


def _json(channel: Notify, secrets: Secrets, notices: Sequence[Notice], database: str) -> tuple[str, Body]:
    (notice,) = notices
    return _url(channel, secrets), text.plain(notice, database)


def _alertmanager(channel: Notify, secrets: Secrets, notices: Sequence[Notice], _: str) -> tuple[str, Body]:
    alerts: list[Body] = []
    for notice in notices:
        event, before = notice.event, notice.before
        since = notice.since or event.at
        if event.status == "resolved":
            # An alert is its labels: the one that was told ends, under the labels that it had.
            alerts.append(_alert(Notice(before or event), event.detail, since, event.at))
            continue
        if before is not None and _labels(before) != _labels(event):
            alerts.append(_alert(Notice(before), before.detail, since, event.at))
        once = event.at + dt.timedelta(minutes=5) if event.status == "once" else None
        alerts.append(_alert(notice, event.detail, since, once))
    return _below(_url(channel, secrets), "api/v2/alerts"), alerts


def _labels(event: Any) -> dict[str, str]:
    labels = {"alertname": event.kind, "subject": event.subject, "severity": event.severity}
    return labels | ({"object": event.about} if event.about else {})


def _alert(notice: Notice, detail: str, since: dt.datetime, until: dt.datetime | None) -> Body:
    alert: dict[str, Any] = {
        "labels": _labels(notice.event),
        "annotations": {"summary": text.title(notice.event), "description": detail},
        "startsAt": text.moment(since),
    }
    return alert | ({"endsAt": text.moment(until)} if until is not None else {})


def _slack(channel: Notify, secrets: Secrets, notices: Sequence[Notice], _: str) -> tuple[str, Body]:
    return _url(channel, secrets), {
        "text": text.slack_escaped(text.headline(notices)),
        "attachments": [
            {
                "color": text.COLOURS[text.mood(one.event)],
                "fallback": text.slack_escaped(text.title(one.event)),
                "title": text.slack_escaped(text.title(one.event)),
                "text": text.slack_escaped(text.cut(one.event.detail, 1500)),
                "ts": int(one.event.at.timestamp()),
            }
            for one in notices
        ],
    }


def _discord(channel: Notify, secrets: Secrets, notices: Sequence[Notice], _: str) -> tuple[str, Body]:
    # All embeds of a message may hold 6000 characters together.
    room = 5500 // len(notices) - 150
    return _url(channel, secrets), {
        "content": text.cut(text.headline(notices), 1900),
        "embeds": [
            {
                "title": text.cut(text.title(one.event), 150),
                "description": text.cut(one.event.detail, min(room, 1500)),
                "color": int(text.COLOURS[text.mood(one.event)].removeprefix("#"), 16),
                "timestamp": text.moment(one.event.at),
            }
            for one in notices
        ],
        "allowed_mentions": {"parse": []},
    }


def _telegram(channel: Notify, secrets: Secrets, notices: Sequence[Notice], _: str) -> tuple[str, Body]:
    token = secrets.token or ""
    if not token or any(c.isspace() or c in "/?#%" or not c.isprintable() for c in token):
        raise Unsendable("token_file holds no bot token")
    url = _below(_url(channel, secrets, _TELEGRAM), f"bot{token}/sendMessage")
    return url, {
        "chat_id": channel.chat,
        "text": text.listed(notices, 4000),
        "link_preview_options": {"is_disabled": True},
    }


def _ntfy(channel: Notify, secrets: Secrets, notices: Sequence[Notice], _: str) -> tuple[str, Body]:
    parts = urlsplit(_url(channel, secrets))
    before, _slash, topic = parts.path.rstrip("/").rpartition("/")
    if not topic:
        raise Unsendable("the URL names no ntfy topic: write https://SERVER/TOPIC")
    worst = max((one.event for one in notices), key=lambda event: text.PRIORITIES[text.mood(event)])
    alone = len(notices) == 1
    return urlunsplit((parts.scheme, parts.netloc, f"{before}/", parts.query, "")), {
        "topic": unquote(topic),
        "title": text.cut(text.headline(notices), 250),
        "message": text.cut(worst.detail, 1000) if alone else text.listed(notices, 1000),
        "priority": text.PRIORITIES[text.mood(worst)],
        "tags": [text.TAGS[text.mood(worst)]],
    }


_BUILDERS: Mapping[str, Callable[[Notify, Secrets, Sequence[Notice], str], tuple[str, Body]]] = {
    "json": _json,
    "alertmanager": _alertmanager,
    "slack": _slack,
    "discord": _discord,
    "telegram": _telegram,
    "ntfy": _ntfy,
}
