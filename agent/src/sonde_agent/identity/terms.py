"""When a certificate is due to be renewed, and what a clock has to do with it. **Pure.**"""

from datetime import UTC, datetime

_SHARE = 2 / 3
_FIRST_PAUSE_S, _FIRST_PART = 60.0, 50
_LONGEST_PAUSE_S, _LONGEST_PART = 3600.0, 20
_DOUBLINGS = 20


def due_us(not_before_us: int, not_after_us: int) -> int:
    """Give when two thirds of its life are over."""
    return not_before_us + round((not_after_us - not_before_us) * _SHARE)


def pause_s(failures: int, life_s: float) -> float:
    """Give the longest wait after so many failures in a row: minutes to an hour, less for short lives.

    Args:
        failures: at least one.
        life_s: of the certificate. [s]
    """
    first = min(_FIRST_PAUSE_S, life_s / _FIRST_PART)
    longest = min(_LONGEST_PAUSE_S, life_s / _LONGEST_PART)
    return min(longest, first * 2.0 ** min(failures - 1, _DOUBLINGS))


def clock_trouble(not_before_us: int, not_after_us: int, now_us: int) -> str:
    """Give what is wrong if this host's clock is not within a certificate's life; "" if it is."""
    if not_before_us <= now_us < not_after_us:
        return ""
    return (
        f"this host's clock says {moment(now_us)}, but the collector's certificate holds from "
        f"{moment(not_before_us)} to {moment(not_after_us)}: set the clock, or, if it is right, renew the "
        "collector's certificate (`sonde-collector pki renew`)"
    )


def moment(us: int) -> str:
    """Give a time for people."""
    return f"{datetime.fromtimestamp(us // 1_000_000, UTC):%Y-%m-%d %H:%M} UTC"
