"""What becomes of an event on a channel: to be sent, silenced, filtered, or nothing new. **Pure**."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Literal

from attrs import frozen

from sonde_collector.inventory.model import Notify
from sonde_collector.notify.event import Event

State = Literal["waiting", "silenced", "filtered", "duplicate"]
Globs = Sequence[str] | None


@frozen
class Silence:
    """What is not told for now: a silence, or a maintenance window that is open.

    Attributes:
        name: as deliveries name it: "silence 3".
        subjects, objects, kinds, vantages: globs; None = any. All must match.
        servers, targets: of a window, globs over subjects of that object; both None = any.
    """

    name: str
    subjects: Globs = None
    objects: Globs = None
    kinds: Globs = None
    vantages: Globs = None
    servers: Globs = None
    targets: Globs = None

    def covers(self, event: Event) -> bool:
        """Tell whether the event is silenced by it."""
        if event.kind == "test":
            return False
        if self.servers is not None or self.targets is not None:
            named = {"server": self.servers, "target": self.targets}.get(event.about)
            if named is None or not _matches(event.subject, named):
                return False
        return (
            _matches(event.subject, self.subjects)
            and _matches(event.about, self.objects)
            and _matches(event.kind, self.kinds)
            and (self.vantages is None or _matches(event.vantage or "", self.vantages))
        )


def silenced_by(event: Event, silences: Iterable[Silence]) -> str | None:
    """Give the name of the first silence that covers the event."""
    return next((one.name for one in silences if one.covers(event)), None)


def wants(channel: Notify, event: Event) -> bool:
    """Tell whether a channel asks for events like this one; the end of what it was told is not asked here."""
    if event.kind.startswith("notify_") and event.subject == channel.key:
        return False  # that a channel fails can't be told through it
    return (
        _matches(event.kind, channel.kinds)
        and _matches(event.subject, channel.subjects)
        and (channel.severities is None or event.severity in channel.severities)
    )


def decide(channel: Notify, event: Event, told: Event | None, silence: str | None) -> State:
    """Give what becomes of an event on a channel.

    Args:
        channel: which.
        event: what.
        told: the newest event of its topic that the channel was told, or is about to be; None: none that
            goes on.
        silence: by what the event is silenced; None: by nothing.
    """
    if event.status == "resolved":
        if told is None or told.resolved:
            return "duplicate"  # whoever did not hear of the beginning need not hear of the end
        if not channel.resolved and channel.kind != "alertmanager":
            return "filtered"
    elif not wants(channel, event):
        return "filtered"
    elif told is not None and told.says == event.says:
        return "duplicate"
    return "waiting" if silence is None else "silenced"


def _matches(text: str, globs: Globs) -> bool:
    return globs is None or any(fnmatchcase(text, glob) for glob in globs)
