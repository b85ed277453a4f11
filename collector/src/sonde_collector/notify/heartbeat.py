"""The heartbeat: a URL that is called while this collector can take results, so that its silence tells.

It is for a service elsewhere that raises the alarm when nothing comes: a collector that is dead, cut off, or
without its database can't tell so itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from sonde_collector.config import Heartbeat
from sonde_collector.notify.message import Secrets, Unsendable
from sonde_collector.notify.secret_files import hidden, read_secret, scrub
from sonde_collector.notify.send import call

_log = structlog.get_logger()
Checks = Callable[[], Awaitable[Mapping[str, str | None]]]


async def keep_heartbeat(settings: Heartbeat, checks: Checks) -> None:
    """Call it for ever while all checks are well; returns at once where no URL is set.

    Args:
        settings: [heartbeat] of the configuration.
        checks: those of /readyz: name -> why it is not well, or None.
    """
    if settings.url is None and settings.url_file is None:
        return
    before = ""
    while True:
        wrong = {name: why for name, why in (await checks()).items() if why}
        said = f"not ready: {', '.join(wrong)}" if wrong else await _beat(settings)
        if said != before:
            if said:
                _log.warning("heartbeat_fails" if not wrong else "heartbeat_rests", because=said)
            else:
                _log.info("heartbeat_works")
        before = said
        await asyncio.sleep(settings.every)


async def _beat(settings: Heartbeat) -> str:
    """Call the URL once; give what was wrong, or ""."""
    secrets = Secrets(url=settings.url)
    try:
        if settings.url_file is not None:
            url = await asyncio.to_thread(read_secret, "url_file", settings.url_file)
            secrets = Secrets(url=url)
        outcome = await call("GET", secrets.url or "", timeout_s=settings.timeout)
    except Unsendable as error:
        return str(error)
    return "" if outcome.action == "sent" else scrub(outcome.said, hidden(secrets))
