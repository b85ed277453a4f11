"""A program: root who uses a profile by hand. Arguments: the profile, and the files of its two secrets."""

import asyncio
import sys
from pathlib import Path

from support.boxes import ping, wanted

from sonde_agent.tunnel.client import Tunnels


async def main() -> None:
    """Use it."""
    profile, username, password = map(Path, sys.argv[1:])
    tunnels = Tunnels.for_file(profile, username_file=username, password_file=password)
    try:
        request = wanted(profile.name, credential="file", inside=[ping(count=1000)])
        async with tunnels.open(request) as events:
            async for _ in events:
                pass
    finally:
        tunnels.close()


if __name__ == "__main__":
    asyncio.run(main())
