"""A program: runs a command where every user may run this Python, as where it is installed for all.

A developer's interpreter often lives in a home that nobody else may enter. In mounts of its own the command
sees that home open, with the interpreter in it and nothing else.
"""

import os
import sys
import tempfile
from pathlib import Path

from sonde_agent.tunnel import namespaces

_OTHERS = 0o005


def open_the_way_to(folder: Path) -> None:
    """Give the calling process mounts in which everybody may enter `folder`; for one with one thread."""
    closed = [parent for parent in reversed(folder.parents) if parent.stat().st_mode & _OTHERS != _OTHERS]
    if not closed:
        return
    namespaces.own_mounts()
    with tempfile.TemporaryDirectory() as aside:
        namespaces.mount(str(folder), aside, flags=namespaces.BIND)
        namespaces.mount("none", str(closed[0]), fstype="tmpfs", options="mode=0755")
        folder.mkdir(parents=True)
        namespaces.mount(aside, str(folder), flags=namespaces.BIND)
        namespaces.unmount(aside)


if __name__ == "__main__":
    open_the_way_to(Path(sys.base_prefix))
    os.execvp(sys.argv[1], sys.argv[1:])
