"""The secrets that rules ask for: a file SLUG.NAME each, in one folder of this host."""

from collections.abc import Iterable
from pathlib import Path

import structlog

from sonde_agent.tunnel.helper_request import read_within

_LARGEST = 4096

log = structlog.get_logger()


def secrets_of(folder: Path, slug: str, names: Iterable[str]) -> dict[str, str]:
    """Give the named secrets of a rule that are there; read at each run, because tokens are renewed."""
    found = {}
    for name in names:
        try:
            text = read_within(folder, f"{slug}.{name}", _LARGEST).decode()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else ""
            log.warning("secret_unusable", file=f"{slug}.{name}", reason=why or "is no UTF-8 text of 4 KiB")
            continue
        found[name] = text.strip()
    return found
