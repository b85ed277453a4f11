"""What a delay line saw of one vantage's packets: echoes, and the flights of a handshake. **Pure.**"""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sonde_lab.records import Record

DIRECT_ECHO_BYTES = 20 + 8 + 16  # IPv4, ICMP, the payload that a check sends
_TCP_ACK_BYTES = 20 + 32  # carries nothing, so it causes nothing


@dataclass(frozen=True)
class Echoes:
    """Medians of echoes [ms].

    Attributes:
        line_ms: both ways on the line.
        far_ms: between the ways, at the server's end.
        answered: how many.
    """

    line_ms: float
    far_ms: float
    answered: int


@dataclass(frozen=True)
class Flights:
    """A handshake from its first packet to the last answer that it waited for [ms].

    Attributes:
        rounds: round trips, one after another.
        line_ms: of all of them on the line.
        near_ms: between an answer and what was sent because of it, at our end.
        far_ms: the same at the server's end.
    """

    rounds: int
    line_ms: float
    near_ms: float
    far_ms: float

    @property
    def total_ms(self) -> float:
        """From the first packet to the last answer."""
        return self.line_ms + self.near_ms + self.far_ms


def direct_echoes(records: Sequence[Record]) -> Echoes:
    """Gives what the line says of the direct echoes."""
    return _echoes([one for one in records if one.size == DIRECT_ECHO_BYTES])


def inner_echoes(records: Sequence[Record]) -> Echoes:
    """Gives what the line says of the echoes in a tunnel: its packets of the most frequent size."""
    packets = transport(records)
    size = Counter(one.size for one in packets if not one.down).most_common(1)[0][0]
    return _echoes([one for one in packets if one.size == size])


def transport(records: Sequence[Record]) -> list[Record]:
    """Gives the packets of a tunnel's transport, in order."""
    plain = (DIRECT_ECHO_BYTES, _TCP_ACK_BYTES)
    return sorted((one for one in records if one.size not in plain), key=lambda one: one.at_s)


def flights(
    records: Sequence[Record], took_ms: float, slack_ms: float, first_bytes: int | None = None
) -> Flights:
    """Follows a handshake back from its last answer: each packet to what came just before it was sent.

    Args:
        records: of one path, of one run.
        took_ms: how long the handshake is said to have taken.
        slack_ms: after the last answer, in which whoever says so may have noticed it.
        first_bytes: size of its first packet; None = it is the first that our end sends. A WireGuard server
            calls for a customer who left without a word, and the host answers that nobody is there.
    """
    packets = transport(records)
    began = next(one.at_s for one in packets if not one.down and first_bytes in (None, one.size))
    until = began + (took_ms + slack_ms) / 1e3
    at = max((one for one in packets if one.down and began < one.at_s and _out(one) <= until), key=_out)
    rounds, line, think = 0, 0.0, {True: 0.0, False: 0.0}
    while True:
        line += at.delay_ms
        rounds += at.down
        causes = [
            one for one in packets if one.down != at.down and began <= one.at_s and _out(one) <= at.at_s
        ]
        if not causes:
            return Flights(rounds, line, near_ms=think[False], far_ms=think[True])
        cause = max(causes, key=_out)
        think[at.down] += (at.at_s - _out(cause)) * 1e3
        at = cause


def _echoes(packets: Sequence[Record]) -> Echoes:
    ups = [one for one in packets if not one.down]
    pairs = []
    for answer in (one for one in packets if one.down):
        asked = [one for one in ups if _out(one) <= answer.at_s]
        if asked:
            pairs.append((max(asked, key=_out), answer))
    return Echoes(
        statistics.median(up.delay_ms + down.delay_ms for up, down in pairs),
        statistics.median((down.at_s - _out(up)) * 1e3 for up, down in pairs),
        len(pairs),
    )


def _out(packet: Record) -> float:
    """When the line let it out [s, UTC]."""
    return packet.at_s + packet.delay_ms / 1e3
