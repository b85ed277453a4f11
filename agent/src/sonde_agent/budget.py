"""What throughput may cost: bytes of a UTC day and of a calendar month, kept over restarts.

A run's bytes are booked before it starts and corrected when it ends: an agent that is killed in between has
counted too much, never too little. A day or month that is over counts no more; a wall clock that was stepped
back finds what was booked still there, because the books know days and not their order.
"""

import contextlib
import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Book:
    """Bytes used in one UTC day and in one month of the calendar. **Pure.**"""

    day: str = ""
    day_bytes: int = 0
    month: str = ""
    month_bytes: int = 0

    def at(self, now_us: int) -> "Book":
        """The book as it stands now: what belongs to another day or month is off it."""
        today = datetime.fromtimestamp(now_us / 1e6, UTC).date().isoformat()
        month = today[:7]
        book = self if self.day == today else replace(self, day=today, day_bytes=0)
        return book if book.month == month else replace(book, month=month, month_bytes=0)

    def plus(self, size: int) -> "Book":
        """With `size` bytes more; fewer where it is negative, never below 0."""
        return replace(
            self,
            day_bytes=max(self.day_bytes + size, 0),
            month_bytes=max(self.month_bytes + size, 0),
        )


def room(book: Book, now_us: int, per_day: int | None, per_month: int) -> int:
    """How many bytes may still be used now. **Pure.**

    Args:
        book: what was used.
        now_us: UTC now [µs since 1970].
        per_day: bytes a day; None = no bound but the month's.
        per_month: bytes a month; 0 = none at all.
    """
    now = book.at(now_us)
    left = per_month - now.month_bytes
    if per_day is not None:
        left = min(left, per_day - now.day_bytes)
    return max(left, 0)


class Budget:
    """The book on disk.

    Attributes:
        per_day: bytes a day, by this agent's own limits; None = no bound.
        per_month: bytes a month, by its assignment; 0 = none at all, which is so until one says otherwise.
    """

    def __init__(self, path: Path, per_day: int | None = None) -> None:
        self._path = path
        self._book = _load(path)
        self.per_day, self.per_month = per_day, 0

    def room(self, now_us: int) -> int:
        """How many bytes may still be used now."""
        return room(self._book, now_us, self.per_day, self.per_month)

    def book(self, most_bytes: int, now_us: int) -> bool:
        """Book a run that may cost so much, before it starts; False, and nothing booked: it does not fit."""
        if most_bytes > self.room(now_us):
            return False
        self._store(self._book.at(now_us).plus(most_bytes))
        return True

    def settle(self, booked_bytes: int, used_bytes: int, now_us: int) -> None:
        """Put what a run has really cost in place of what was booked for it."""
        before = self._book
        if before == before.at(now_us):
            self._store(before.plus(used_bytes - booked_bytes))
        else:  # midnight passed meanwhile: what was booked is off, and the bytes count for the new day
            self._store(before.at(now_us).plus(used_bytes))

    def _store(self, book: Book) -> None:
        self._book = book
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(asdict(book), file)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            log.warning(
                "budget_unwritten",
                path=str(self._path),
                error=error.strerror,
                hint="after a restart the bytes of today and this month would count from an older state",
            )


def _load(path: Path) -> Book:
    """The book last stored; an empty one where there is none, or it is damaged (logged once)."""
    try:
        return _parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Book()
    except (OSError, ValueError) as error:
        log.warning("budget_unreadable", path=str(path), error=str(error), hint="counting starts anew")
        return Book()


def _parse(said: Any) -> Book:
    """The book that a file's JSON means.

    Raises:
        ValueError: it means none.
    """
    match said:
        case {"day": str(day), "day_bytes": int(today), "month": str(month), "month_bytes": int(whole)}:
            return Book(day, max(today, 0), month, max(whole, 0))
        case _:
            raise ValueError("not what this agent writes")
