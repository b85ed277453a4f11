"""`apply` with sources: a provider's files into a real database."""

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sonde_collector.inventory.apply import Applied, Shrunk, apply
from sonde_collector.inventory.fleet_file import load_fleet
from sonde_collector.inventory.sources.read import read_sources
from sonde_proto.toml_config import ConfigError
from sonde_proto.v1 import control_pb2

pytestmark = pytest.mark.postgres

FLEET = """
[[vantage]]
code = "ams1"
city = "Amsterdam"
country = "NL"
monthly_gb = 1000

[[provider]]
key = "acme"
name = "Acme VPN"

[[provider.account]]
key = "acme-wg"
sessions = 5

[[provider.source]]
path = "wg"
account = "acme-wg"
pattern = "{country}-{city}-*"
cities = { sto = "Stockholm" }

[[plan]]
key = "core"
checks = ["connection", "ping"]
servers = ["acme-se-sto-000*"]
every = "1h"

[plan.connection]
exit_url = "http://ip.test/"
"""
SEQUENCES = "SELECT schemaname || '.' || sequencename, last_value FROM pg_sequences ORDER BY 1"
TABLES = (
    "countries cities probe_locations providers servers server_protocols sonde.server_keys sonde.vantages "
    "sonde.targets sonde.plans sonde.assignments sonde.accounts sonde.server_profiles sonde.server_epochs"
)


def wireguard_key(seed: str) -> str:
    """Give a key in base64."""
    return base64.b64encode(hashlib.sha256(seed.encode()).digest()).decode()


def conf(number: int, *, host: str | None = None, key: str = "server") -> str:
    """Give a profile as a provider hands it out, with a private key of its own."""
    endpoint = host or f"198.51.{number // 250}.{number % 250}"
    return (
        f"[Interface]\nPrivateKey = {wireguard_key(f'private{number}')}\nAddress = 10.2.0.2/32\n\n"
        f"[Peer]\nPublicKey = {wireguard_key(f'{key}{number}')}\nPresharedKey = {wireguard_key('shared')}\n"
        f"AllowedIPs = 0.0.0.0/0\nEndpoint = {endpoint}:51820\n"
    )


class Files:
    """A fleet file, its folder of profiles, and the database."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url = url
        self.conn = psycopg.connect(url, autocommit=True)
        self.folder = folder
        self.profiles = folder / "wg"
        self.profiles.mkdir()
        self.file = folder / "fleet.toml"
        self.file.write_text(FLEET)

    def write(self, number: int, text: str | None = None) -> None:
        """Write one profile."""
        (self.profiles / f"se-sto-{number:05}.conf").write_text(text or conf(number))

    def apply(self, *, dry_run: bool = False, may_shrink: bool = False) -> Applied:
        """Apply what is written."""
        fleet = load_fleet(self.file)
        return apply(self.conn, fleet, read_sources(fleet), dry_run=dry_run, may_shrink=may_shrink)

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        """Give the rows of a statement."""
        return self.conn.execute(statement).fetchall()  # type: ignore[call-overload]

    def everything(self) -> dict[str, list[tuple[object, ...]]]:
        """Give all that apply may write, with the transaction that wrote it."""
        return {
            table: self.rows(f"SELECT xmin::text, t::text FROM {table} t ORDER BY 2")
            for table in TABLES.split()
        }

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `sonde-collector apply` as a user does."""
        config = self.folder / "collector.toml"
        config.write_text(f'state_dir = "state"\n[database]\nurl = "{self.url}"\n')
        command = [sys.executable, "-m", "sonde_collector.cli", "apply", str(self.file)]
        done = subprocess.run(
            [*command, "--config", str(config), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def files(database_url: str, tmp_path: Path) -> Iterator[Files]:
    """Give ten profiles and a fresh database."""
    made = Files(database_url, tmp_path)
    for number in range(10):
        made.write(number)
    with made.conn:
        yield made


def test_files_become_servers_ways_and_tasks(files: Files) -> None:
    """Each file is a server with its address, place, protocol and port; its tunnel is assigned by file."""
    files.apply()
    assert files.rows(
        "SELECT key, host(ip_address), c.name, sp.port, w.profile, w.public_key, w.epoch FROM servers s "
        "JOIN sonde.server_keys k ON k.server_id = s.id JOIN cities c ON c.id = s.city_id "
        "JOIN server_protocols sp ON sp.server_id = s.id JOIN sonde.server_profiles w ON w.server_id = s.id "
        "ORDER BY key LIMIT 1"
    ) == [
        (
            "acme-se-sto-00000",
            "198.51.0.0",
            "Stockholm",
            51820,
            "se-sto-00000.conf",
            wireguard_key("server0"),
            1,
        )
    ]
    assert files.rows("SELECT credential, sessions, linger_s, is_active FROM sonde.accounts") == [
        ("acme-wg", 5, 60.0, True)
    ]
    ((body,),) = files.rows("SELECT body FROM sonde.assignments")
    task = control_pb2.Assignment.FromString(bytes(body)).tasks[0]  # type: ignore[arg-type]
    assert (task.key, task.group) == ("core/acme-se-sto-00000/WireGuard", "acme-se-sto-00000/WireGuard")
    assert (task.connection.credential, task.connection.profile) == ("acme-wg", "se-sto-00000.conf")
    assert [inside.WhichOneof("spec") for inside in task.connection.inside] == ["ping"]


def test_no_private_key_is_in_the_database(files: Files) -> None:
    """Neither a private nor a preshared key stands anywhere in the database, as text or as bytes."""
    files.apply()
    secrets = [wireguard_key("shared"), *(wireguard_key(f"private{number}") for number in range(10))]
    raw = [base64.b64decode(secret) for secret in secrets]
    tables = files.rows(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace IN "
        "('public'::regnamespace, 'sonde'::regnamespace)"
    )
    dump = b""
    for (table,) in tables:
        for how in ("TEXT", "BINARY"):
            with files.conn.cursor().copy(f"COPY {table} TO STDOUT (FORMAT {how})".encode()) as copy:
                dump += b"".join(bytes(block) for block in copy)
    assert wireguard_key("server0").encode() in dump
    for text, data in zip(secrets, raw, strict=True):
        assert text.encode() not in dump
        assert data not in dump
        assert data.hex().encode() not in dump


def test_a_second_apply_of_many_files_writes_nothing(files: Files) -> None:
    """Over 1000 files, no sequence is drawn from and no row is written anew when nothing changed."""
    for number in range(1000):
        files.write(number)
    assert sum(change.kind == "server" for change in files.apply().changes) == 1000
    before, sequences = files.everything(), files.rows(SEQUENCES)
    again = files.apply()
    assert (again.changes, again.reassigned) == ([], [])
    assert files.everything() == before
    assert files.rows(SEQUENCES) == sequences


def test_a_changed_address_or_key_begins_an_epoch(files: Files) -> None:
    """The server keeps its row and key; its history says what changed, from what to what."""
    files.apply()
    ids = files.rows("SELECT key, server_id FROM sonde.server_keys ORDER BY 1")
    files.write(1, conf(1, host="203.0.113.9"))
    files.write(2, conf(2, key="other"))
    files.apply()
    assert files.rows("SELECT key, server_id FROM sonde.server_keys ORDER BY 1") == ids
    assert files.rows(
        "SELECT key, what, before, after FROM sonde.server_epochs JOIN sonde.server_keys USING (server_id) "
        "ORDER BY key"
    ) == [
        ("acme-se-sto-00001", "ip_address", "198.51.0.1", "203.0.113.9"),
        ("acme-se-sto-00002", "public_key", wireguard_key("server2"), wireguard_key("other2")),
    ]
    assert files.rows("SELECT profile FROM sonde.server_profiles WHERE epoch = 2 ORDER BY 1") == [
        ("se-sto-00001.conf",),
        ("se-sto-00002.conf",),
    ]


def test_a_source_that_shrinks_asks_first(files: Files) -> None:
    """A fifth may go; more is refused and writes nothing, until --yes says that it is meant."""
    files.apply()
    for number in (0, 1):
        (files.profiles / f"se-sto-{number:05}.conf").unlink()
    files.apply()
    before = files.everything()
    for number in (2, 3):
        (files.profiles / f"se-sto-{number:05}.conf").unlink()
    with pytest.raises(Shrunk, match="list 6 ways to servers, and 8 are known: 2 would be deactivated"):
        files.apply()
    assert files.everything() == before
    assert files.apply(dry_run=True).shrunk
    files.apply(may_shrink=True)
    assert files.rows("SELECT count(*) FROM servers WHERE is_active") == [(6,)]
    assert files.rows("SELECT count(*) FROM sonde.server_profiles WHERE is_active") == [(6,)]
    files.write(0)
    files.apply()
    assert files.rows("SELECT count(*), count(*) FILTER (WHERE is_active) FROM servers") == [(10, 7)]


def test_a_changed_account_is_tried_again(files: Files) -> None:
    """An account whose settings change is no longer refused; one that leaves the file gets no leases."""
    files.apply()
    files.conn.execute("UPDATE sonde.accounts SET state = 'refused'")
    assert files.apply().changes == []
    assert files.rows("SELECT state FROM sonde.accounts") == [("refused",)]
    files.file.write_text(FLEET.replace("sessions = 5", "sessions = 6"))
    files.apply()
    assert files.rows("SELECT state, sessions FROM sonde.accounts") == [("ok", 6)]


def test_a_plan_that_can_not_fit_is_refused_with_the_nearest_that_does(files: Files) -> None:
    """Ten tunnels every 40 s need more than one session; the interval that is named fits."""
    busy = FLEET.replace('every = "1h"', 'every = "40s"').replace("sessions = 5", "sessions = 1")
    files.file.write_text(busy)
    with pytest.raises(
        ConfigError, match=r'account acme-wg: .* the nearest that fits is every = "([0-9ms]+)"'
    ) as caught:
        files.apply()
    assert files.rows("SELECT count(*) FROM servers") == [(0,)]
    every = str(caught.value).split('every = "')[1].split('"')[0]
    files.file.write_text(busy.replace('every = "40s"', f'every = "{every}"'))
    files.apply()


def test_plans_choose_among_listed_servers(files: Files) -> None:
    """A plan's mistake about servers is told once the sources are read, and names the nearest key."""
    files.file.write_text(FLEET.replace("acme-se-sto-000*", "acme-se-sto-0000"))
    with pytest.raises(
        ConfigError, match=r'plan\[0\].servers\[0\]: "acme-se-sto-0000" is no .*did you mean "acme-se'
    ):
        files.apply()
    files.file.write_text(FLEET.replace('every = "1h"', 'every = "1h"\nprotocols = ["IKEv2"]'))
    with pytest.raises(ConfigError, match="no profile leads to any of them by IKEv2"):
        files.apply()


def test_the_command_tells_bad_files_and_applies_the_rest(files: Files) -> None:
    """Each bad file has its line on standard error; --strict applies nothing and exits 1."""
    files.write(1, conf(1).replace("Address", "PostUp = true\nAddress"))
    (files.profiles / "nowhere.conf").write_text(conf(99))
    strict = files.command("--strict")
    assert strict.returncode == 1
    assert files.rows("SELECT count(*) FROM servers") == [(0,)]
    done = files.command("--json")
    assert done.returncode == 0, done.stderr
    assert "can't be used: se-sto-00001.conf:3: " in done.stderr
    assert 'not placed: nowhere.conf: the name does not match pattern "{country}-{city}-*"' in done.stderr
    told = json.loads(done.stdout)
    assert len(told["sources"]["bad"]) == len(told["sources"]["unmatched"]) == 1
    assert told["accounts"]["acme-wg"]["session_s_per_day"] > 0
    assert files.rows("SELECT count(*) FROM servers") == [(9,)]


def test_a_dry_run_shows_the_cost_and_refuses_what_can_not_fit(files: Files) -> None:
    """The tables of vantages and accounts are printed, and what doesn't fit ends with exit code 2."""
    fine = files.command("--dry-run")
    assert fine.returncode == 0, fine.stderr
    assert "GB/day" in fine.stdout
    assert "session-h/day" in fine.stdout
    files.file.write_text(
        FLEET.replace('"ping"]', '"throughput"]').replace('"1h"', '"10m"')
        + '[plan.throughput]\nurl = "http://speed.test/"\n'
    )
    dry = files.command("--dry-run")
    assert dry.returncode == 2
    assert "GB a month, and monthly_gb = 1000; the nearest that fits is every =" in dry.stderr
    assert files.rows("SELECT count(*) FROM servers") == [(0,)]
