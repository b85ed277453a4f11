"""A server of another major version on a data directory that this program does not run: to read it once."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg

from sonde_collector.db import programs
from sonde_collector.db.data_directory import postmaster
from sonde_collector.db.embedded import DATABASE, USER
from sonde_collector.db.errors import EmbeddedError

_DEBIAN = "/usr/lib/postgresql/{major}/bin"
_START_DEADLINE_S = 300.0  # recovery of one that was killed
_STOP_DEADLINE_S = 60.0
# Nothing that lies there is changed but what PostgreSQL itself writes down when it starts and stops.
_SETTINGS = (
    "listen_addresses=",
    "port=5432",
    "autovacuum=off",
    "default_transaction_read_only=on",
    "logging_collector=off",
)


def find_programs(major: str, named: Path | None) -> Path:
    """Gives where the programs of a major version are.

    Args:
        major: of PostgreSQL.
        named: where they must be; None = where Debian and the wheel put them.

    Raises:
        EmbeddedError: they are not there; the message says how to get them.
    """
    wheel = programs.embedded_programs().parents[1]
    places = [named] if named else [Path(_DEBIAN.format(major=major)), *sorted(wheel.glob("pginstall*/bin"))]
    found = {place: _major_at(place) for place in places}
    for place, version in found.items():
        if version == major:
            return place
    held = ", ".join(f"{place} ({version or 'none'})" for place, version in found.items())
    raise EmbeddedError(
        f"PostgreSQL {major}'s own programs are needed to read its data, and are not here: {held}; "
        f"`apt install postgresql-{major}` brings them on Debian and Ubuntu, or name their directory: "
        "--from-bin DIR"
    )


def _major_at(place: Path) -> str:
    try:
        said = subprocess.run(
            [str(place / "postgres"), "--version"], capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    found = re.search(r"\) (\d+)", said.stdout)
    return found[1] if found else ""


class Older:
    """A running one, on a socket of its own. Dies with this process.

    Attributes:
        url: of our database.
    """

    def __init__(self, sockets: str) -> None:
        self._sockets = sockets

    @property
    def url(self) -> str:
        """Of our database."""
        return self.url_of(DATABASE)

    def url_of(self, name: str) -> str:
        """Of a database of that name."""
        return f"postgresql://{USER}@/{name}?host={quote(self._sockets, safe='')}"


@contextlib.contextmanager
def older(data: Path, binaries: Path) -> Iterator[Older]:
    """Starts it, and stops it in order.

    Args:
        data: that nobody else uses now; a server that a killed collector left there is stopped first.
        binaries: from `find_programs`.

    Raises:
        EmbeddedError: it does not start.
    """
    stop(data)
    user = programs.ordinary_user()
    with tempfile.TemporaryDirectory(prefix="sonde-older-") as sockets, tempfile.TemporaryFile() as log:
        user.give(Path(sockets))
        settings = (*_SETTINGS, f"unix_socket_directories={sockets}")
        command = [
            *user.prefix, "setpriv", "--pdeathsig", "QUIT", "--", str(binaries / "postgres"), "-D", str(data),
            *(part for setting in settings for part in ("-c", setting)),
        ]  # fmt: skip
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=data
        )
        server = Older(sockets)
        try:
            _wait(process, server)
            yield server
        except _Ended:
            log.seek(0)
            said = log.read().decode(errors="replace").splitlines()[-4:]
            raise EmbeddedError(f"PostgreSQL does not start on {data}: {' / '.join(said)}") from None
        finally:
            process.send_signal(signal.SIGINT)  # fast shutdown
            process.wait(_STOP_DEADLINE_S)


class _Ended(Exception):
    """It is not running."""


def _wait(process: subprocess.Popen[bytes], server: Older) -> None:
    deadline = time.monotonic() + _START_DEADLINE_S
    while True:
        try:
            psycopg.connect(server.url_of("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise _Ended from None
            time.sleep(0.05)
            continue
        return


def stop(data: Path) -> None:
    """Stops a server that was left running there.

    Raises:
        EmbeddedError: it does not stop.
    """
    deadline = time.monotonic() + _STOP_DEADLINE_S
    while (pid := postmaster(data)) is not None:
        if time.monotonic() > deadline:
            raise EmbeddedError(f"PostgreSQL (process {pid}) on {data} does not stop")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
        time.sleep(0.1)
