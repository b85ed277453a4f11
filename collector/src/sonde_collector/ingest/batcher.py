"""Which batches a writer takes next. **Pure**: the queue and the cut, no thread, clock or SQL.

Streams take turns, oldest first, and vantages by what a cut holds of them already: many streams or large
batches get one no more than the others. Of one stream, batches leave in order and one writer holds it at a
time, so two writers never wait for each other's cursor and no later batch overtakes an earlier one.
"""

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable
from heapq import heapify, heappop, heappush

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

        One batch of each vantage, then the next of whoever has the fewest rows: streams cover the same time,
        and rows of the same time cost the database least when they come together. Whose batch was taken goes
        behind the others, with all streams.
        """
        taken: list[Arrival] = []
        rows = 0
        held_of: dict[str, int] = defaultdict(int)
        free = [(0, turn, epoch) for turn, epoch in enumerate(self._waiting) if epoch not in self._held]
        heapify(free)
        turn = len(self._waiting)
        while free:
            had, place, epoch = heappop(free)
            queue = self._waiting[epoch]
            share = held_of.get(queue[0].vantage, 0)
            if had < share:  # another stream of its vantage was taken since
                heappush(free, (share, place, epoch))
                continue
            if taken and rows + queue[0].rows > max_rows:
                break
            batch = queue.popleft()
            taken.append(batch)
            rows += batch.rows
            # A row more: without it batches of gaps alone, which have none, would never yield.
            held_of[batch.vantage] += batch.rows + 1
            self._held.add(epoch)
            if queue:
                self._waiting.move_to_end(epoch)  # behind its vantage's other streams
                turn += 1
                heappush(free, (held_of[batch.vantage], turn, epoch))
            else:
                del self._waiting[epoch]
        for epoch in [each for each, queue in self._waiting.items() if queue[0].vantage in held_of]:
            self._waiting.move_to_end(epoch)
        self.rows -= rows
        return taken

    def done(self, arrivals: Iterable[Arrival]) -> None:
        """Lets the streams of a cut go, whatever became of it."""
        self._held.difference_update(arrival.epoch for arrival in arrivals)
