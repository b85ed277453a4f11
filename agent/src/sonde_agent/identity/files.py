"""Where key and certificates lie: `identity` in the state directory, a link that is moved in one step.

What is written is a directory of its own; the link names the one in use. So key and certificate always belong
together, whatever is killed when.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sonde_proto.toml_edit import with_values

NAME = "identity"
_PREFIX = f".{NAME}-"


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """The files of an agent with that state directory."""

    state_dir: Path

    @property
    def ca(self) -> Path:
        """The authority that signs the collector's certificate and ours."""
        return self.state_dir / NAME / "ca.pem"

    @property
    def cert(self) -> Path:
        """Our certificate."""
        return self.state_dir / NAME / "cert.pem"

    @property
    def key(self) -> Path:
        """Our key."""
        return self.state_dir / NAME / "key.pem"

    def store(self, *, key: bytes, cert: bytes, ca: bytes) -> None:
        """Put these into use, all at once.

        Raises:
            OSError: they can't be written; what was in use stays.
        """
        self.state_dir.mkdir(parents=True, exist_ok=True)
        # An operator may enrol while the agent renews: the one tidies up only what the other has finished.
        with (self.state_dir / f"{NAME}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._store({self.key.name: key, self.cert.name: cert, self.ca.name: ca})

    def _store(self, files: Mapping[str, bytes]) -> None:
        folder = self.state_dir / f"{_PREFIX}{secrets.token_hex(6)}"
        link = folder.with_suffix(".link")
        try:
            _write(folder, files)
            link.symlink_to(folder.name)
            link.replace(self.state_dir / NAME)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                link.unlink()
            raise
        _sync(self.state_dir)
        for old in self.state_dir.glob(f"{_PREFIX}*"):
            if old != folder:
                shutil.rmtree(old, ignore_errors=True)

    def values(self, enroll: str) -> dict[str, str]:
        """Give what [tls] of agent.toml says of them, and of where they are renewed."""
        return {"ca": str(self.ca), "cert": str(self.cert), "key": str(self.key), "enroll": enroll}

    def lines(self, enroll: str) -> str:
        """Give the same as agent.toml has it."""
        return with_values("", "tls", self.values(enroll)).rstrip()


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir(0o700)
    for name, data in files.items():
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    if os.geteuid() == 0:  # enrolled by root, for an agent that is not
        owner = folder.parent.stat()
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner.st_uid, owner.st_gid)
    _sync(folder)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
