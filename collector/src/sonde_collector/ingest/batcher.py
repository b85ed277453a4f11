"""Which batches a writer takes next. **Pure**: the queue and the cut, no thread, clock or SQL.

Streams take turns, oldest first; of one stream, batches leave in order and one writer holds it at a time, so
two writers never wait for each other's cursor and no later batch overtakes an earlier one.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable

from sonde_collector.ingest.arrival import Arrival


class Batcher:
    """Batches that wait, by stream. Not thread-safe."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[bytes, deque[Arrival]] = OrderedDict()
        self._held: set[bytes] = set()
        self.rows = 0
        """Results that wait."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def ready(self) -> bool:
        """Whether `cut` would give anything."""
        return any(epoch not in self._held for epoch in self._waiting)

    @property
    def oldest_us(self) -> int | None:
        """When the oldest waiting batch was received; None where none waits."""
        return min((queue[0].received_at_us for queue in self._waiting.values()), default=None)

    def add(self, arrival: Arrival) -> None:
        """Puts a batch behind the others of its stream."""
        self._waiting.setdefault(arrival.epoch, deque()).append(arrival)
        self.rows += arrival.rows

    def cut(self, max_rows: int) -> list[Arrival]:
        """Takes up to `max_rows` results in whole batches, at least one if any is free; holds their streams.

        One batch of each stream, then the next of each: streams cover the same time, and rows of the same
        time cost the database least when they come together. Who was taken goes behind the others.
        """
        taken: list[Arrival] = []
        rows = 0
        free = deque(epoch for epoch in self._waiting if epoch not in self._held)
        while free:
            queue = self._waiting[free[0]]
            if taken and rows + queue[0].rows > max_rows:
                break
            epoch = free.popleft()
            taken.append(queue.popleft())
            rows += taken[-1].rows
            self._held.add(epoch)
            if queue:
                self._waiting.move_to_end(epoch)
                free.append(epoch)
            else:
                del self._waiting[epoch]
        self.rows -= rows
        return taken

    def done(self, arrivals: Iterable[Arrival]) -> None:
        """Lets the streams of a cut go, whatever became of it."""
        self._held.difference_update(arrival.epoch for arrival in arrivals)
