"""Reading what somebody else put into a folder: a file, and no more of it than asked for."""

import stat
from pathlib import Path


def first_bytes(path: Path, most: int) -> bytes:
    """Give a file's first `most` bytes, one more where it has more.

    Raises:
        OSError: it can't be read, or is no file: a pipe would never end.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(0, "it is no file")
    with path.open("rb") as file:
        return file.read(most + 1)
