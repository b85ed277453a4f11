"""The last good assignment on disk, so that a rebooted agent measures with the collector away."""

import contextlib
import hashlib
import os
from pathlib import Path

import structlog
from google.protobuf.message import DecodeError

from sonde_proto.v1 import control_pb2

log = structlog.get_logger()

_MAGIC = b"sonde assignment 1\n"
_DIGEST_BYTES = 32


class AssignmentCache:
    """One file: a line that names the format, the SHA-256 of the rest, the assignment."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> control_pb2.Assignment | None:
        """The assignment last stored; None when there is none, or it is damaged (logged once)."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("assignment_cache_unreadable", path=str(self._path), error=error.strerror)
            return None
        digest, body = data[len(_MAGIC) :][:_DIGEST_BYTES], data[len(_MAGIC) + _DIGEST_BYTES :]
        with contextlib.suppress(DecodeError):
            if data.startswith(_MAGIC) and hashlib.sha256(body).digest() == digest:
                return control_pb2.Assignment.FromString(body)
        log.warning(
            "assignment_cache_corrupt", path=str(self._path), hint="ignored; the collector sends a new one"
        )
        return None

    def store(self, assignment: control_pb2.Assignment) -> None:
        """Replace the file at once or not at all. A disk that takes no more is logged: the agent goes on."""
        body = assignment.SerializeToString()
        temporary = self._path.with_suffix(".new")
        try:
            with temporary.open("wb") as file:
                file.write(_MAGIC + hashlib.sha256(body).digest() + body)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(self._path)
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            log.warning(
                "assignment_cache_unwritten",
                path=str(self._path),
                error=error.strerror,
                hint="a restart with the collector away would begin with an older assignment",
            )
