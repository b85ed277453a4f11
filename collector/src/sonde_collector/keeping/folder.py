"""A backup's directory: made whole or not at all, and proven whole before it is used."""

import contextlib
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from sonde_collector.db.errors import BackupError
from sonde_collector.keeping import manifest
from sonde_collector.keeping.dump import Tell
from sonde_collector.keeping.manifest import File, Manifest

_PRIVATE = 0o700
_PIECE = 1 << 20


@contextlib.contextmanager
def making(target: Path) -> Iterator[Path]:
    """A directory to fill that becomes `target` when all of it is on the disk.

    What an earlier attempt left behind that was killed is removed.

    Raises:
        BackupError: the target exists, or another backup to it is under way.
    """
    target = target.absolute()
    if target.exists() or target.is_symlink():
        raise BackupError(f"{target} exists, and a backup never overwrites: name another directory")
    if not target.parent.is_dir():
        raise BackupError(f"{target.parent} is no directory: make it first")
    partial = target.with_name(f"{target.name}.partial")
    partial.mkdir(mode=_PRIVATE, exist_ok=True)
    lock = os.open(partial, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"another backup to {target} is under way") from None
        for left in partial.iterdir():
            left.unlink()
        try:
            yield partial
            for file in partial.iterdir():
                _sync(file)
            os.fsync(lock)
            partial.rename(target)
            _sync(target.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    finally:
        os.close(lock)


def digest(path: Path) -> File:
    """Size and checksum of a file."""
    sha256, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            sha256.update(piece)
            size += len(piece)
    return File(size, sha256.hexdigest())


def read(source: Path) -> Manifest:
    """The manifest of a backup.

    Raises:
        BackupError: there is none.
    """
    try:
        text = (source / manifest.NAME).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise BackupError(
            f"{source} is no backup of `sonde-collector backup`: it holds no {manifest.NAME}"
        ) from None
    except UnicodeDecodeError:
        raise BackupError(f"{source / manifest.NAME}: a damaged manifest") from None
    return manifest.read(text, str(source / manifest.NAME))


def verify(source: Path, files: Mapping[str, File], tell: Tell) -> None:
    """Proves each file to be what it was.

    Raises:
        BackupError: one is missing, or not what the manifest says.
    """
    for done, (name, wanted) in enumerate(sorted(files.items())):
        tell("files checked", done, len(files))
        path = source / name
        if path.parent != source or not path.is_file():
            raise BackupError(f"{path} is missing: the backup is not whole")
        if (found := digest(path)) != wanted:
            raise BackupError(
                f"{path} is damaged: {found.bytes} bytes, SHA-256 {found.sha256[:16]}…, and the manifest "
                f"says {wanted.bytes} bytes, {wanted.sha256[:16]}…; use another copy"
            )
    tell("files checked", len(files), len(files))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
