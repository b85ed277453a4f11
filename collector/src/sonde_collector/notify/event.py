"""An event as notices tell of it. **Pure**, all of it."""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Literal

from attrs import field, frozen

Status = Literal["firing", "resolved", "once"]

# Objects of kinds whose events don't say it themselves.
_OBJECTS: Mapping[str, str] = {
    "agent_": "vantage",
    "credential_": "credential",
    "certificate_": "target",
    "disk_": "collector",
    "notify_": "channel",
    "origin_": "origin_group",
    "provider_": "provider",
    "results_": "vantage",
    "rule_": "rule",
}


@frozen
class Event:
    """One row of sonde.events.

    Attributes:
        topic: the same for what begins and what ends; None: it is over at once.
        resolved: what the topic names has ended.
    """

    id: int
    at: dt.datetime
    kind: str
    subject: str
    detail: str
    severity: str
    topic: str | None = None
    resolved: bool = False
    data: Mapping[str, Any] = field(factory=dict)

    @property
    def status(self) -> Status:
        """Whether it begins something, ends it, or is over at once."""
        if self.topic is None:
            return "once"
        return "resolved" if self.resolved else "firing"

    @property
    def about(self) -> str:
        """What the subject is: server, target, vantage …; "" where nobody knows."""
        said = self.data.get("object")
        if isinstance(said, str):
            return said
        return next((what for start, what in _OBJECTS.items() if self.kind.startswith(start)), "")

    @property
    def vantage(self) -> str | None:
        """The vantage that it is about; None where it is about none, or several."""
        said = self.subject if self.about == "vantage" else self.data.get("vantage")
        return said if isinstance(said, str) else None

    @property
    def says(self) -> tuple[Any, ...]:
        """What of it is news: another event of the topic that says the same need not be told."""
        return (self.resolved,) if self.resolved else (False, self.severity, self.data.get("to"))


@frozen
class Notice:
    """An event for a channel.

    Attributes:
        before: the event of the topic that the channel was told last and that goes on; None: nothing.
        since: when that stretch began.
    """

    event: Event
    before: Event | None = None
    since: dt.datetime | None = None


def event_of(row: Mapping[str, Any]) -> Event:
    """Give the event of a row as the queries name its columns."""
    names = ("id", "at", "kind", "subject", "detail", "severity", "topic", "resolved")
    data = row["data"] if isinstance(row["data"], Mapping) else {"data": row["data"]}
    return Event(**{name: row[name] for name in names}, data=data)
