"""The words of notices. **Pure**, all of it."""

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Any, Literal

from sonde_collector.inventory.model import Notify
from sonde_collector.notify.event import Event, Notice

Mood = Literal["resolved", "info", "warning", "critical"]

COLOURS: Mapping[Mood, str] = {
    "resolved": "#2eb67d",
    "info": "#4a90d9",
    "warning": "#ecb22e",
    "critical": "#e01e5a",
}
PRIORITIES: Mapping[Mood, int] = {"resolved": 3, "info": 2, "warning": 4, "critical": 5}
"""As ntfy counts: 1 is least, 5 most."""
TAGS: Mapping[Mood, str] = {
    "resolved": "white_check_mark",
    "info": "information_source",
    "warning": "warning",
    "critical": "rotating_light",
}


def mood(event: Event) -> Mood:
    """Give how a person should take it."""
    if event.resolved:
        return "resolved"
    moods: Mapping[str, Mood] = {"info": "info", "critical": "critical"}
    return moods.get(event.severity, "warning")


def title(event: Event) -> str:
    """Give one line: how bad, what, about whom."""
    return one_line(f"{mood(event).upper()} {event.kind.replace('_', ' ')}: {event.subject}")


def headline(notices: Sequence[Notice]) -> str:
    """Give one line over all: the title of one, or how many of which mood."""
    if len(notices) == 1:
        return title(notices[0].event)
    moods = [mood(one.event) for one in notices]
    order: tuple[Mood, ...] = ("critical", "warning", "info", "resolved")
    counts = ", ".join(f"{moods.count(each)} {each}" for each in order if each in moods)
    return f"{len(notices)} notices: {counts}"


def listed(notices: Sequence[Notice], longest: int) -> str:
    """Give all notices as paragraphs of at most `longest` characters together."""
    room = longest // len(notices) - 2
    return "\n\n".join(cut(f"{title(one.event)}\n{one.event.detail}", room) for one in notices)


def plain(notice: Notice, database: str) -> dict[str, Any]:
    """Give an event as JSON programs read it."""
    event = notice.event
    return {
        "id": event.id,
        "database": database,
        "at": moment(event.at),
        "kind": event.kind,
        "object": event.about,
        "subject": event.subject,
        "severity": event.severity,
        "status": event.status,
        "topic": event.topic,
        "since": None if notice.since is None else moment(notice.since),
        "title": title(event),
        "detail": event.detail,
        "data": dict(event.data),
    }


def mail(channel: Notify, notices: Sequence[Notice], *, database: str, now: dt.datetime) -> EmailMessage:
    """Give the mail that tells of these notices."""
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(display_name="Sonde", addr_spec=channel.sender or "")
    message["To"] = ", ".join(channel.to)
    message["Subject"] = cut(f"[sonde] {headline(notices)}", 200)
    message["Date"] = format_datetime(now)
    domain = (channel.sender or "").rpartition("@")[2]
    message["Message-ID"] = f"<{identity(notices, database).replace('/', '.')}.{channel.key}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    paragraphs = (f"{title(one.event)}\n{moment(one.event.at)}\n{one.event.detail}\n" for one in notices)
    message.set_content("\n".join(cut(one, 10_000) for one in paragraphs))
    return message


def identity(notices: Sequence[Notice], database: str) -> str:
    """Give the same for the same notices, however often they are sent: DATABASE/EVENT for one."""
    ids = [str(one.event.id) for one in notices]
    if len(ids) == 1:
        return f"{database}/{ids[0]}"
    return f"{database}/{hashlib.sha256(','.join(ids).encode()).hexdigest()[:32]}"


def moment(at: dt.datetime) -> str:
    """Give a time as RFC 3339 writes it, in UTC."""
    return at.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cut(text: str, longest: int) -> str:
    """Give a text of at most so many characters."""
    return text if len(text) <= longest else text[: max(longest - 1, 0)] + "…"


def one_line(text: str) -> str:
    """Give a text without line breaks and what terminals and headers take amiss."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def slack_escaped(text: str) -> str:
    """Give a text in which Slack finds no link and no mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
