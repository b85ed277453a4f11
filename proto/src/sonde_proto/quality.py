"""Quality bits: what a reader should know before trusting a row's figures.

The bits travel in `Performance.quality` and `Endpoint.quality` and stand in the column `quality`
of the tables; the SQL function `sonde.quality_flags(int)` spells them out. A bit's number never
changes meaning.
"""

from enum import IntFlag


class Quality(IntFlag):
    """What a reader should know about one result; 0 means nothing to say."""

    USER_STAMPS = 1 << 0
    """At least one time was taken by this process, not by the kernel. (A name's `resolve_ms` always is.)"""
    SUCCESS_BY_PING = 1 << 1
    """connection_success rests on a ping reply, because the plan says so."""
    NOT_READY = 1 << 2
    """The vantage was not fit to judge others when this was measured."""
    CLOCK_STEPPED = 1 << 3
    """The wall clock was stepped during the run; `measured_at` may be off."""
    INSECURE = 1 << 4
    """The certificate was not verified, because the plan says so."""
    BODY_CAPPED = 1 << 5
    """The body was longer than the plan's limit; only its beginning was read."""
    RAW_SOCKET = 1 << 6
    """ICMP went through a raw socket: this host allows no datagram ICMP."""
    CPU_LIMITED = 1 << 7
    """Our own CPU was the limit; the figure is a lower bound."""
    BYTE_BOUND = 1 << 8
    """A throughput run ended at its bytes, before its time: the mean is of what there was."""
    RATE_CAPPED = 1 << 9
    """A throughput run was held at the plan's rate cap; the figure is a lower bound."""
    EXIT_UNKNOWN = 1 << 10
    """Nobody was asked by which address the world sees this tunnel: a leak would not be noticed."""
    HANDSHAKE_ONLY = 1 << 11
    """A handshake was made and no tunnel: nothing went through."""
    ON_DEMAND = 1 << 12
    """A person asked for this run: it stands in no schedule, and in no average of what does."""


def words(quality: int) -> str:
    """Give the bits' names, lowest first, as "user_stamps,raw_socket"; "" where there are none. **Pure.**"""
    named = [(bit, (Quality(1 << bit).name or f"bit_{bit}").lower()) for bit in range(31)]
    return ",".join(name for bit, name in named if quality & 1 << bit)
