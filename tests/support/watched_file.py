"""A file that nobody is to open, watched by the kernel: whoever does, by whatever name, is noticed."""

import ctypes
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Self

_OPENED, _READ = 0x20, 0x1  # IN_OPEN, IN_ACCESS
_EVENT = struct.Struct("iIII")

_libc = ctypes.CDLL(None, use_errno=True)


class WatchedFile:
    """An executable file that leaves a mark when it runs, and a watch on it (inotify(7)).

    Args:
        path: where to make it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mark = path.with_name(f"{path.name}-ran")
        path.write_text(f"#!/bin/sh\ntouch {self._mark}\n")
        path.chmod(0o755)

    def __enter__(self) -> Self:
        self._watch = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self._watch >= 0
        assert _libc.inotify_add_watch(self._watch, bytes(self.path), _OPENED | _READ) >= 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._watch)

    def touched(self) -> bool:
        """Whether it was opened, read or run since the last time."""
        try:
            seen = len(os.read(self._watch, 65_536)) >= _EVENT.size
        except BlockingIOError:
            seen = False
        return seen or self._mark.exists()
