"""A new version of the agent whose maker has overlooked a mistake: it measures, and sends nothing."""

import subprocess
import tempfile
from pathlib import Path

_GOOD = "await self._backoff.forever(self._connection)"
_BAD = "await asyncio.Event().wait()"


def broken(deb: Path) -> Path:
    """Break the package in place; give it. It installs and starts as if it were well."""
    with tempfile.TemporaryDirectory(prefix="sonde-broken-") as scratch:
        tree = Path(scratch, "tree")
        subprocess.run(["dpkg-deb", "-R", deb, tree], check=True)
        (uplink,) = tree.glob("usr/lib/sonde-agent/lib/*/site-packages/sonde_agent/uplink/client.py")
        text = uplink.read_text()
        assert text.count(_GOOD) == 1
        uplink.write_text(text.replace(_GOOD, _BAD))
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, deb], check=True)
    return deb
