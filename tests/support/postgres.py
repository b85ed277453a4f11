"""Real PostgreSQL for tests: one throwaway server per session, a database of its own per test.

As root and as an ordinary user. The server runs from the embedded wheel's programs, or those in
$SONDE_TEST_PG_BIN.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from sonde_collector.db import programs
from sonde_collector.db.migrate import migrate

PREFIX = "sonde-test-pg-"
START_DEADLINE_S = 30.0


class Server:
    """One PostgreSQL server on a private directory: a unix socket, and a port on 127.0.0.1.

    Args:
        durable: with fsync and full_page_writes, for tests that kill it; else fast and forgetful.
        directory: what to keep it in (made if missing, kept by `stop`); else a temporary one that `stop`
        removes. binaries: where initdb and postgres are; else $SONDE_TEST_PG_BIN or the embedded wheel's.
        settings: more postgresql.conf settings.
    """

    def __init__(
        self,
        *,
        durable: bool = False,
        directory: Path | None = None,
        binaries: Path | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        named = os.environ.get("SONDE_TEST_PG_BIN")
        self.binaries = binaries or (Path(named) if named else programs.embedded_programs())
        self._temporary = directory is None
        if directory is None:
            _sweep()
            directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        directory.mkdir(parents=True, exist_ok=True)
        programs.ordinary_user().give(directory)
        self.directory = directory
        self.data = directory / "data"
        self._settings = {
            "fsync": "on" if durable else "off",
            "full_page_writes": "on" if durable else "off",
            "synchronous_commit": "on" if durable else "off",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "unix_socket_directories": str(directory),
            "listen_addresses": "127.0.0.1",
            "max_wal_size": "2GB",
            "autovacuum_naptime": "10s",
            **(settings or {}),
        }
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, makes the data directory at the first time, and returns when it answers."""
        if not self.data.exists():
            self._run(
                "initdb",
                "-D",
                str(self.data),
                "-U",
                "postgres",
                "-E",
                "UTF8",
                "--locale=C",
                "-A",
                "trust",
                "-N",
            )
            hba = self.data / "pg_hba.conf"
            # Users of this role's kind must show a password, so that a wrong one can be tried.
            first = "host all with_password 127.0.0.1/32 scram-sha-256\n"
            hba.write_text(first + hba.read_text())
        self.port = self.port or free_port()
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        # A test run that is killed takes its server with it: the kernel tells the server that its parent
        # died.
        command = [
            *programs.ordinary_user().prefix,
            "setpriv",
            "--pdeathsig",
            "QUIT",
            "--",
            str(self.binaries / "postgres"),
        ]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "-D", str(self.data), "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for pytest: it stops the server in order
            )
        self._wait()

    def stop(self) -> None:
        """Ends it in order, and removes a temporary directory."""
        if self._process and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # fast shutdown
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill9()
        self._process = None
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def kill9(self) -> None:
        """Kills the postmaster and returns when its children are gone too."""
        assert self._process is not None
        group = self._process.pid
        # Each is the leader of a session of its own, and a busy one notices late that its postmaster is gone.
        children = Path(f"/proc/{group}/task/{group}/children").read_text().split()
        self._process.kill()
        self._process.wait(20)
        deadline = time.monotonic() + 20
        while any(_session_lives(int(session)) for session in (group, *children)):
            assert time.monotonic() < deadline, "PostgreSQL's children outlived their postmaster by 20 s"
            time.sleep(0.01)

    @property
    def running(self) -> bool:
        """Whether the postmaster is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        """A connection URL over TCP."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def create(self, name: str, template: str = "template1") -> str:
        """A new database; returns its URL."""
        self._admin(sql.SQL("CREATE DATABASE {} TEMPLATE {}"), name, template)
        return self.url(name)

    def drop(self, name: str) -> None:
        """Removes a database, whoever is connected."""
        self._admin(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)"), name)

    def _admin(self, statement: sql.SQL, *names: str) -> None:
        with psycopg.connect(self.url(), autocommit=True) as conn:
            conn.execute(statement.format(*map(sql.Identifier, names)))

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*programs.ordinary_user().prefix, str(self.binaries / program), *arguments],
            capture_output=True, text=True, check=False, cwd=self.directory,
        )  # fmt: skip
        assert done.returncode == 0, f"{program} failed: {done.stdout}{done.stderr}"

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            log = (self.directory / "log").read_text(errors="replace")[-2000:]
            assert self._process.poll() is None, f"PostgreSQL ended at start:\n{log}"
            assert time.monotonic() < deadline, f"PostgreSQL does not answer:\n{log}"
            time.sleep(0.02)

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """The session's server (one per xdist worker), with a migrated template database."""
    server = Server()
    try:
        server.start()
        url = server.create("sonde_template")
        with psycopg.connect(url, autocommit=True) as conn:
            migrate(conn)
        yield server
    finally:
        server.stop()


@pytest.fixture
def database_url(postgres_server: Server) -> Iterator[str]:
    """A fresh, migrated database."""
    with _database(postgres_server, "sonde_template") as url:
        yield url


@pytest.fixture
def empty_database_url(postgres_server: Server) -> Iterator[str]:
    """A fresh database without any schema of ours."""
    with _database(postgres_server, "template1") as url:
        yield url


@contextlib.contextmanager
def _database(server: Server, template: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    try:
        yield server.create(name, template)
    finally:
        server.drop(name)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _session_lives(session: int) -> bool:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(sid) == session and state != "Z":
            return True
    return False


def _sweep() -> None:
    """Removes directories of test runs that were killed: the pid in their name is gone."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        pid = left.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not Path("/proc", pid).exists():
            shutil.rmtree(left, ignore_errors=True)
