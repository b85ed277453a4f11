"""What platforms may expect of this host: one request at a time each, and silence after a 429."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LEAST_WAIT_S, MOST_WAIT_S = 3600.0, 86_400.0
"""After a 429 without Retry-After: the first wait, doubled with each further one up to the second."""


class Courtesy:
    """Shared by all runs of a process, and by all their threads.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._hosts: dict[str, tuple[threading.Lock, int]] = {}  # with how many use or await it
        self._waits: dict[tuple[str, str], tuple[float, float]] = {}  # until when, and how long it was

    @contextmanager
    def turn(self, host: str, within_s: float) -> Iterator[None]:
        """Hold the one turn at `host`.

        Raises:
            TimeoutError: it did not come in time.
        """
        with self._lock:
            lock, users = self._hosts.get(host, (threading.Lock(), 0))
            self._hosts[host] = lock, users + 1
        try:
            if not lock.acquire(timeout=max(within_s, 0)):
                raise TimeoutError(f"other requests to {host} took all the time")
            try:
                yield
            finally:
                lock.release()
        finally:
            with self._lock:
                users = self._hosts[host][1] - 1
                if users:
                    self._hosts[host] = lock, users
                else:
                    del self._hosts[host]

    def rest_s(self, target: str, slug: str) -> float:
        """For how long a rule is not to be asked through `target` ("" = directly); 0 = it may be [s]."""
        until, _ = self._waits.get((target, slug), (0.0, 0.0))
        return max(until - self._clock(), 0.0)

    def note(self, target: str, slug: str, *, rate_limited: bool, retry_after_s: float = 0.0) -> None:
        """Take how a rule ended: a 429 begins a wait or doubles the last one, anything else ends it."""
        with self._lock:
            if not rate_limited:
                self._waits.pop((target, slug), None)
                return
            _, last_s = self._waits.get((target, slug), (0.0, 0.0))
            wait_s = min(max(2 * last_s, LEAST_WAIT_S), MOST_WAIT_S)
            asked_s = min(max(retry_after_s, 0.0), MOST_WAIT_S)
            self._waits[target, slug] = self._clock() + (asked_s or wait_s), wait_s
