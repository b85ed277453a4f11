"""The files beside the spool: the lock, the reserve on the disk, and the witness of the spool's life."""

import contextlib
import ctypes
import fcntl
import os
import struct
from pathlib import Path

from sonde_agent.spool.model import SpoolError

_AT_FDCWD, _STATX_BTIME = -100, 0x800
_STATX_BYTES, _MASK_AT, _BIRTH_AT = 256, 0, 80  # struct statx: stx_mask, stx_btime (seconds, nanoseconds)

_WITNESS = struct.Struct("<16sQ")  # epoch, highest seq


def identity(path: Path) -> tuple[int, int, int]:
    """Which file this is: device, inode, time of birth [ns since 1970; 0 where the system does not say].

    The inode alone is not enough: a file put in the place of a removed one often gets the same.
    """
    found = path.stat()
    answer = ctypes.create_string_buffer(_STATX_BYTES)
    libc = ctypes.CDLL(None)
    if libc.statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, answer) != 0:
        return found.st_dev, found.st_ino, 0
    (mask,) = struct.unpack_from("=I", answer, _MASK_AT)
    seconds, nanoseconds = struct.unpack_from("=qI", answer, _BIRTH_AT)
    return found.st_dev, found.st_ino, seconds * 10**9 + nanoseconds if mask & _STATX_BTIME else 0


class Lock:
    """Holds the state directory for one process, until close or death."""

    def __init__(self, path: Path) -> None:
        """Take the lock.

        Raises:
            SpoolError: another process holds it, or the directory can't be written.
        """
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise SpoolError(
                f"{path.parent}: {error.strerror}; the agent must be able to write its state_dir"
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._fd)
            raise SpoolError(
                f"{path.parent}: another sonde-agent is using this state_dir; stop it first, "
                "or give this one a state_dir of its own"
            ) from error

    def close(self) -> None:
        """Let go."""
        os.close(self._fd)


class Reserve:
    """Disk space kept so that a full disk still takes the record of what was dropped."""

    def __init__(self, path: Path, size: int) -> None:
        self._path = path
        self._size = size
        self.held = path.exists() and path.stat().st_size >= size

    def take(self) -> bool:
        """Allocate the space, if the disk has twice as much; says whether it is held."""
        with contextlib.suppress(OSError):
            room = os.statvfs(self._path.parent)
            if not self.held and room.f_bavail * room.f_frsize >= 2 * self._size:
                with self._path.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, self._size)
                self.held = True
        return self.held

    def release(self) -> None:
        """Give the space back to the disk."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
        self.held = False


class Witness:
    """Remembers outside the spool how far it had come, to notice an older file put in its place.

    Written after each append without a flush: it survives a kill, and a power cut can only leave it behind,
    which says nothing. One that is ahead, of another epoch, or gone says that the spool was replaced.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def agrees(self, epoch: bytes, highest_seq: int) -> bool:
        """Whether a spool whose current stream is this one can be the one last seen."""
        data = os.pread(self._fd, _WITNESS.size, 0)
        if len(data) != _WITNESS.size:
            return False
        seen_epoch, seen_seq = _WITNESS.unpack(data)
        return bool(seen_epoch == epoch and seen_seq <= highest_seq)

    def note(self, epoch: bytes, highest_seq: int) -> None:
        """Remember how far the current stream has come."""
        with contextlib.suppress(OSError):  # it is a witness, not the record; its block exists already
            os.pwrite(self._fd, _WITNESS.pack(epoch, highest_seq), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
