"""The search for the one result that the collector can't read. **Pure.**"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sent:
    """A batch under way. `rows` are the seqs of its results, without its gaps."""

    first_seq: int
    last_seq: int
    rows: tuple[int, ...]


class Narrowing:
    """How many results a batch may hold, and how many batches may be under way.

    After a refusal batches go one at a time and halve until the refused one holds a single result; once all
    that was under way is past, the usual numbers hold again.
    """

    def __init__(self, limit_rows: int, window: int) -> None:
        self._usual_rows = limit_rows
        self._usual_window = window
        self._until_seq = 0
        self.limit_rows = limit_rows
        self.window = window

    def refused(self, under_way: list[Sent]) -> int | None:
        """Learn from a refusal.

        Returns:
            The seq to set aside; None when the search goes on.
        """
        self._until_seq = max([self._until_seq, *(sent.last_seq for sent in under_way)])
        if len(under_way) > 1:  # which one it was is not known
            self.window = 1
            return None
        (sent,) = under_way
        self.window = 1
        self.limit_rows = max(1, len(sent.rows) // 2)
        return sent.rows[0] if len(sent.rows) == 1 else None

    def acked(self, seq: int) -> None:
        """Learn from an ack."""
        if self.window == self._usual_window and self.limit_rows == self._usual_rows:
            return
        if seq >= self._until_seq:
            self.limit_rows, self.window = self._usual_rows, self._usual_window
        else:
            self.limit_rows = min(self._usual_rows, self.limit_rows * 2)
