"""Where files lie: a folder of this host, or a bucket that speaks S3."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen
from pyarrow import fs

from sonde_collector.config import Archive, CollectorConfig

_PIECE = 1 << 20
_ATTEMPTS = 3
_CONNECT_S = 5.0
_REQUEST_S = 30.0


class StorageError(Exception):
    """The archive's place can't be used; the text says why."""


@frozen(eq=False)
class Storage:
    """An archive's place.

    Attributes:
        place: the folder, or s3://BUCKET/PREFIX, as people write it.
        system: pyarrow's view of it.
        root: path within that system, without a "/" at its end.
        folder: where it is a folder of this host.
    """

    place: str
    system: fs.FileSystem
    root: str
    folder: Path | None

    def path(self, name: str) -> str:
        """The path of a file within `system`."""
        return f"{self.root}/{name}"

    @contextlib.contextmanager
    def write(self, name: str) -> Iterator[Any]:
        """A sink whose file appears under its name when the block ends well, on disk for good.

        In a folder it else does not appear. In a bucket a broken upload may leave a part under the name:
        nothing is a file of ours before sonde.archives says so, and the next try writes it anew.

        Raises:
            OSError: no room, no right, no answer.
        """
        if self.folder is not None:
            with _write_local(self.folder / name) as sink:
                yield sink
            return
        with self.system.open_output_stream(self.path(name)) as sink:
            yield sink

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return bool(self.system.get_file_info(self.path(name)).type == fs.FileType.File)

    def read(self, name: str) -> bytes:
        """All of a small file.

        Raises:
            OSError: it is not there, or can't be read.
        """
        with self.system.open_input_stream(self.path(name)) as source:
            return bytes(source.read())

    def sha256(self, name: str) -> tuple[str, int]:
        """Digest and size of a file, read anew from where it lies.

        Raises:
            OSError: it is not there, or can't be read.
        """
        digest, size = hashlib.sha256(), 0
        with self.system.open_input_stream(self.path(name)) as source:
            while piece := source.read(_PIECE):
                digest.update(piece)
                size += len(piece)
        return digest.hexdigest(), size

    def open(self, name: str) -> Any:
        """A file to be read at any place."""
        return self.system.open_input_file(self.path(name))


@contextlib.contextmanager
def _write_local(path: Path) -> Iterator[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*"):  # of a turn that was killed
        left.unlink(missing_ok=True)
    draft = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    try:
        with draft.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    for folder in (path.parent, path.parent.parent):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def open_storage(config: CollectorConfig) -> Storage:
    """The place that the configuration names.

    Raises:
        StorageError: its credentials can't be read.
    """
    settings = config.archive
    if settings.url.startswith("s3://"):
        return Storage(settings.url, _s3(settings), settings.url.removeprefix("s3://"), None)
    folder = Path(settings.url) if settings.url else config.state_dir / "archive"
    return Storage(str(folder), fs.LocalFileSystem(), str(folder), folder)


def _s3(settings: Archive) -> fs.FileSystem:
    options: dict[str, Any] = {}
    if settings.endpoint:
        parts = urlsplit(settings.endpoint)
        options |= {"endpoint_override": parts.netloc, "scheme": parts.scheme}
    if settings.region:
        options["region"] = settings.region
    if settings.credentials:
        lines = settings.credentials.read_text("utf-8").split()
        if len(lines) != 2:  # noqa: PLR2004 -- access key, secret key
            raise StorageError(
                f"archive.credentials: {settings.credentials} must hold two lines: access key, secret key"
            )
        options |= {"access_key": lines[0], "secret_key": lines[1]}
    return fs.S3FileSystem(
        **options,
        connect_timeout=_CONNECT_S,
        request_timeout=_REQUEST_S,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        allow_bucket_creation=False,
        background_writes=False,
    )
