"""Which WireGuard keys this agent uses now: a server takes a key's newest handshake for the only one."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class KeyBusy(Exception):
    """A handshake now would end a tunnel of the same key, or the other way round."""


class Keys:
    """The keys in use, by tunnels and by handshakes without one."""

    def __init__(self) -> None:
        self._tunnels: Counter[str] = Counter()
        self._handshakes: Counter[str] = Counter()

    @contextmanager
    def use(self, key_id: str, *, handshake_only: bool) -> Iterator[None]:
        """Have a key in use for as long as the context lasts; "" = the profile has none.

        Several tunnels of one key are the collector's to allow.

        Raises:
            KeyBusy: a handshake would be beside a tunnel of the key.
        """
        mine, others = (
            (self._handshakes, self._tunnels) if handshake_only else (self._tunnels, self._handshakes)
        )
        if key_id and (others[key_id] or (handshake_only and mine[key_id])):
            raise KeyBusy
        mine[key_id] += 1
        try:
            yield
        finally:
            mine[key_id] -= 1
            if not mine[key_id]:
                del mine[key_id]
