"""`embedded:` — a PostgreSQL of our own in the state directory, shared by all our processes that use it.

The wheel brings the programs; its Python half is not used, because it makes a system user and opens
directories when root, ties the server's life to atexit, keeps its list of users in a file of pids (which a
SIGKILL leaves wrong), and leaves stopping unclear when two processes share a server. Here:

- every process that uses the server holds a shared flock on `postgres.users`; the kernel drops it however the
process
  ends. Who leaves and finds itself the last stops the server. Starting and stopping hold `postgres.lock`.
- a server left behind by a killed collector goes on and is used by the next; a thread starts one that was
killed again.
"""

import contextlib
import fcntl
import hashlib
import os
import select
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString, Self
from urllib.parse import quote

import psycopg
import structlog

from sonde_collector.db import programs
from sonde_collector.db.data_directory import LOCK, USERS, major_of, postmaster
from sonde_collector.db.errors import EmbeddedError

DATABASE = "sonde"
USER = "sonde"
_PRIVATE = 0o700
_SOCKET = ".s.PGSQL.5432"
_SOCKET_PATH_MAX = 107  # bytes of sun_path before its NUL, unix(7)
_START_DEADLINE_S = 60.0  # crash recovery of max_wal_size on a slow disk
_PROGRAM_DEADLINE_S = 120.0
# For a host that also runs other things; ALTER SYSTEM overrides each.
_SETTINGS = """\
# Written by sonde-collector at each start. Use ALTER SYSTEM for settings of your own.
listen_addresses = ''
unix_socket_directories = {sockets}
unix_socket_permissions = 0700
port = 5432
timezone = 'UTC'
log_timezone = 'UTC'
max_connections = 60
shared_buffers = 128MB
work_mem = 16MB
maintenance_work_mem = 128MB
wal_compression = on
max_wal_size = 1GB
checkpoint_timeout = 15min
random_page_cost = 1.1
jit = off
logging_collector = on
log_directory = 'log'
log_filename = 'postgresql-%a.log'
log_rotation_age = 1d
log_truncate_on_rotation = on
"""

log = structlog.get_logger()


class Embedded:
    """The server of one state directory, as one process uses it. Use as a context manager.

    Args:
        state_dir: made if missing; the data is in its `postgres`.
    """

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir.resolve()
        self.data = self.state_dir / "postgres"
        self._user = programs.ordinary_user()
        self._users: int | None = None
        self._ending = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def sockets(self) -> Path:
        """The directory of its socket: the data's, or a short private one where that path is too long."""
        if len(os.fsencode(self.data / _SOCKET)) <= _SOCKET_PATH_MAX:
            return self.data
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:16]
        return Path(tempfile.gettempdir(), f"sonde-{os.geteuid()}-{digest}")

    @property
    def url(self) -> str:
        """For any client of the same user on this machine."""
        return self.url_of(DATABASE)

    def url_of(self, name: str) -> str:
        """The same for a database of another name."""
        return f"postgresql://{USER}@/{name}?host={quote(str(self.sockets), safe='')}"

    def start(self) -> None:
        """Starts the server, or joins the running one; makes data and database at the first time.

        Raises:
            EmbeddedError: it can't run here; the message says why.
        """
        try:
            self.state_dir.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            self._user.open_way(self.state_dir)
            with self._exclusive():
                self._check_data()
                self._ensure_running()
                users = os.open(self.state_dir / USERS, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(users, fcntl.LOCK_SH)
                self._users = users
        except OSError as error:
            raise EmbeddedError(
                f"the embedded PostgreSQL can't use {self.state_dir}: {error.strerror or error}; "
                "give the collector a state_dir that it may write to"
            ) from error
        self._watcher = threading.Thread(target=self._watch, name="embedded-postgres", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Leaves the server; the last to leave stops it in order."""
        if self._users is None:
            return
        self._ending.set()
        if self._watcher:
            self._watcher.join()
        with self._exclusive():
            users, self._users = self._users, None
            fcntl.flock(users, fcntl.LOCK_UN)
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            finally:
                os.close(users)
            if self._pid() is not None:
                self._program("pg_ctl", "stop", "-D", str(self.data), "-m", "fast", "-w", "-t", "60")
            if self.sockets != self.data:
                with contextlib.suppress(OSError):
                    self.sockets.rmdir()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        descriptor = os.open(self.state_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _check_data(self) -> None:
        if not self.data.exists():
            self._make_data()
        owner = self.data.stat().st_uid
        if owner != self._user.uid:
            raise EmbeddedError(
                f"{self.data} belongs to uid {owner} and this is uid {os.geteuid()}: run the collector as "
                "its owner, "
                "or give it a state_dir of its own"
            )
        if (major := major_of(self.data)) != str(programs.MAJOR):
            raise EmbeddedError(
                f"{self.data} holds data of PostgreSQL {major}, and this program brings {programs.MAJOR}: "
                "`sonde-collector convert` takes it over and keeps the old one; --dry-run says what it needs"
            )

    def _make_data(self) -> None:
        """Makes it beside, then a rename: a start that is killed leaves no half-made data directory."""
        new = Path(tempfile.mkdtemp(prefix="postgres.new-", dir=self.state_dir))
        self._user.give(new)
        arguments = ["-D", str(new), "-U", USER, "-E", "UTF8", "--locale=C", "-A", "trust"]
        self._program("initdb", *arguments)
        with (new / "postgresql.conf").open("a") as conf:
            conf.write("\ninclude 'sonde.conf'\n")
        new.rename(self.data)

    def _ensure_running(self) -> None:
        """Starts the server unless it runs, and makes our database."""
        deadline = time.monotonic() + _START_DEADLINE_S
        while True:
            if self._pid() is None:
                self._start_server()
            try:
                conn = psycopg.connect(
                    host=str(self.sockets), user=USER, dbname="postgres", autocommit=True, connect_timeout=5
                )
            except psycopg.OperationalError as error:
                # Another process's server may still be recovering; or the one that ran was just killed, and
                # its pid is gone at the next look.
                if time.monotonic() > deadline:
                    raise EmbeddedError(
                        f"the embedded PostgreSQL does not answer: {error}; see {self.data}/log"
                    ) from error
                time.sleep(0.05)
                continue
            with conn:
                make_database(conn)
            return

    def _start_server(self) -> None:
        self._make_sockets()
        literal = "'" + str(self.sockets).replace("'", "''") + "'"
        (self.data / "sonde.conf").write_text(_SETTINGS.format(sockets=literal))
        # After a SIGKILL of the postmaster its children hold the shared memory until they notice, and
        # PostgreSQL refuses to start beside them.
        deadline = time.monotonic() + _START_DEADLINE_S
        while self._orphans() and time.monotonic() < deadline:
            time.sleep(0.05)
        for lock in (self.data / "postmaster.pid", self.sockets / f"{_SOCKET}.lock"):
            _remove_stale(lock)
        self._program(
            "pg_ctl",
            "start",
            "-D",
            str(self.data),
            "-l",
            str(self.data / "start.log"),
            "-w",
            "-t",
            "60",
            "-s",
        )

    def _make_sockets(self) -> None:
        if self.sockets == self.data:
            return
        self.sockets.mkdir(mode=_PRIVATE, exist_ok=True)
        found = self.sockets.lstat()
        if (
            found.st_uid not in {os.geteuid(), self._user.uid}
            or stat.S_IMODE(found.st_mode) != _PRIVATE
            or not stat.S_ISDIR(found.st_mode)
        ):
            raise EmbeddedError(
                f"{self.sockets} is not a private directory of this user: remove it (the database's socket "
                "stands there, "
                f"because {self.data} is too long a path for one)"
            )
        self._user.give(self.sockets)

    def _pid(self) -> int | None:
        """The running postmaster of our data; None where there is none."""
        return postmaster(self.data)

    def _orphans(self) -> int:
        count = 0
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                count += (process / "cwd").readlink() == self.data
        return count

    def _watch(self) -> None:
        while not self._ending.is_set():
            pid = self._pid()
            if pid is None:
                self._restart()
                continue
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                while not self._ending.is_set() and not poll.poll(200):  # ms; how late a stop() may be
                    pass
            finally:
                os.close(descriptor)

    def _restart(self) -> None:
        try:
            with self._exclusive():
                if self._pid() is None and not self._ending.is_set():
                    log.warning("embedded_postgres_gone", action="starting it again")
                    self._ensure_running()
                    log.info("embedded_postgres_started")
        except (EmbeddedError, OSError) as error:
            log.error("embedded_postgres_start_failed", reason=str(error))  # noqa: TRY400 (a message, no traceback)
            self._ending.wait(5)

    def _program(self, program: str, *arguments: str) -> None:
        command = [*self._user.prefix, str(programs.embedded_programs() / program), *arguments]
        # The server inherits what pg_ctl has: not our standard streams, which somebody may wait on.
        with tempfile.TemporaryFile() as output:
            code = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                check=False,
                cwd=self.state_dir,
                timeout=_PROGRAM_DEADLINE_S,
            ).returncode
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
        if code != 0:
            raise EmbeddedError(
                f"{program} of the embedded PostgreSQL failed: {said or f'exit {code}'}{self._log_tail()}"
            )

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self.data / "start.log").read_text(errors="replace").splitlines()
            return f" (log: {' / '.join(lines[-4:])})"
        return ""


def make_database(conn: psycopg.Connection, name: LiteralString = DATABASE) -> None:
    """Makes a database with the settings of ours, unless it is there."""
    if not conn.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).rowcount:
        conn.execute(f"CREATE DATABASE {name}")
        conn.execute(f"ALTER DATABASE {name} SET timezone = 'UTC'")
        # Our role has the name of our schema, which "$user" would put before public.
        conn.execute(f"ALTER DATABASE {name} SET search_path = public, sonde")


def _remove_stale(lock: Path) -> None:
    """Removes a lock file whose pid is a zombie's or a stranger's by now: PostgreSQL would not start."""
    with contextlib.suppress(OSError, ValueError):
        if Path("/proc", str(int(lock.read_text().split("\n", 1)[0]))).exists():
            lock.unlink()
