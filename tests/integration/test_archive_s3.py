"""The archive in a bucket of a real S3 API server, also when that server dies."""

import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pyarrow import fs
from support.old_rows import archive, asking, days_ago, fill, furnish, keep, roll_up, rows_of, states
from support.programs import eventually, free_port

from sonde_collector.archive import ledger, restore
from sonde_collector.archive.storage import Storage, StorageError, open_storage
from sonde_collector.config import CollectorConfig, load_config
from sonde_collector.maintain import archiver

pytestmark = pytest.mark.postgres


class Bucket:
    """An S3 server in a process of its own, with one bucket; what it holds ends with it."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self._log = directory / "s3.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and makes the bucket."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-m", "moto.server",
                 "-H", "127.0.0.1", "-p", str(self.port)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        eventually(self._made, 60, self._log.read_text)

    def _made(self) -> bool:
        try:
            fs.S3FileSystem(
                access_key="key", secret_key="secret", region="eu-central-1", scheme="http",
                endpoint_override=f"127.0.0.1:{self.port}", allow_bucket_creation=True,
            ).create_dir("sonde")  # fmt: skip
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[Bucket]:
    """A running one."""
    bucket = Bucket(tmp_path)
    bucket.start()
    yield bucket
    bucket.kill()


@pytest.fixture
def config(bucket: Bucket, tmp_path: Path, database_url: str) -> CollectorConfig:
    """What an operator writes."""
    (tmp_path / "s3").write_text("key\nsecret\n")
    path = tmp_path / "collector.toml"
    path.write_text(
        f'state_dir = "state"\n[database]\nurl = "{database_url}"\n[retention]\nraw = "40d"\n[archive]\n'
        f'url = "s3://sonde/fleet"\nendpoint = "http://127.0.0.1:{bucket.port}"\nregion = "eu-central-1"\n'
        'credentials = "s3"\n'
    )
    return load_config(path)


@pytest.fixture
def conn(database_url: str) -> Iterator[psycopg.Connection]:
    """A database with two old days and a new one."""
    chance = random.Random(3)
    with psycopg.connect(database_url, autocommit=True) as conn:
        furnish(conn)
        for day in (80, 79, 0):
            fill(conn, days_ago(day), 100, chance)
        roll_up(conn)
        yield conn


def turn(config: CollectorConfig, url: str) -> list[str]:
    """One turn of the process that archives."""
    return archiver.turn(config, url, tell=lambda *_: None).done


def test_a_bucket_holds_what_a_folder_would(
    conn: psycopg.Connection, database_url: str, config: CollectorConfig
) -> None:
    """Rows go to the bucket, are read from it with what is hot, and come back bit for bit."""
    before = rows_of(conn, "performance_logs")
    assert len(turn(config, database_url)) == 14
    storage: Storage = open_storage(config)
    with asking(database_url, storage) as ask:
        assert ask("SELECT count(*) FROM performance_logs") == [(300,)]
    for record in ledger.records(conn):
        restore.restore(conn, storage, record)
    assert rows_of(conn, "performance_logs") == before


def test_a_bucket_that_dies_loses_nothing(
    conn: psycopg.Connection, database_url: str, config: CollectorConfig, bucket: Bucket
) -> None:
    """The server is killed when it is to take the first file: all rows stay, and it is told once."""
    count = conn.execute("SELECT count(*) FROM performance_logs").fetchone()
    storage = open_storage(config)
    steps: list[str] = []

    def die(_: str, state: str) -> None:
        steps.append(state)
        if state == "detached":
            bucket.kill()

    with pytest.raises(OSError, match="sonde"):
        archive(conn, storage, keep(40), tell=die)
    assert steps == ["leaving", "detached"]
    for _ in range(2):
        with pytest.raises(OSError, match="sonde"):
            turn(config, database_url)
    told = "SELECT kind, severity, resolved FROM sonde.events ORDER BY id"
    assert conn.execute(told).fetchall() == [("archive_failed", "warning", False)]
    bucket.start()
    assert len(turn(config, database_url)) == 14
    assert set(states(conn).values()) == {"archived"}
    assert conn.execute(told).fetchall()[1:] == [("archive_failed", "info", True)]
    with asking(database_url, storage) as ask:
        assert ask("SELECT count(*) FROM performance_logs") == [count]


def test_credentials_of_another_shape_are_told(config: CollectorConfig) -> None:
    """One clear message, which does not show them."""
    assert config.archive.credentials is not None
    config.archive.credentials.write_text("only-one-word\n")
    with pytest.raises(StorageError, match="two lines: access key, secret key") as caught:
        open_storage(config)
    assert "only-one-word" not in str(caught.value)
