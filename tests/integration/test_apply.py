"""`apply`: a fleet file into a real database."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from sonde_collector.inventory.apply import Applied, apply
from sonde_collector.inventory.fleet_file import load_fleet
from sonde_proto.toml_config import ConfigError
from sonde_proto.v1 import control_pb2

pytestmark = pytest.mark.postgres

FLEET = """
[[vantage]]
code = "ams1"
city = "Amsterdam"
country = "NL"

[[vantage]]
code = "lon1"
city = "London"
country = "GB"
provider = "Hoster"
monthly_gb = 50

[[provider]]
key = "acme"
name = "Acme VPN"

[[server]]
key = "nl-1"
provider = "acme"
city = "Amsterdam"
country = "NL"
hostname = "nl1.acme.test"
ip_address = "192.0.2.1"
protocols = ["WireGuard"]

[[server]]
key = "nl-2"
provider = "acme"
city = "Amsterdam"
country = "NL"
hostname = "nl2.acme.test"

[[target]]
key = "site"
kind = "http"
url = "https://www.acme.test/"

[[plan]]
key = "core"
checks = ["ping", "endpoint"]
servers = "*"
targets = "*"
every = "60s"
"""

NL_2 = FLEET[FLEET.index('[[server]]\nkey = "nl-2"') : FLEET.index("[[target]]")]
SEQUENCES = "SELECT schemaname || '.' || sequencename, last_value FROM pg_sequences ORDER BY 1"


class Fleet:
    """A fleet file and the database it is applied to."""

    def __init__(self, url: str, folder: Path) -> None:
        self.conn = psycopg.connect(url, autocommit=True)
        self.file = folder / "fleet.toml"

    def apply(self, text: str, *, dry_run: bool = False) -> Applied:
        """Write the file and apply it."""
        self.file.write_text(text)
        return apply(self.conn, load_fleet(self.file), dry_run=dry_run)

    def rows(self, statement: str) -> list[tuple[object, ...]]:
        """Give the rows of a statement."""
        return self.conn.execute(statement).fetchall()  # type: ignore[call-overload]

    def everything(self) -> dict[str, list[tuple[object, ...]]]:
        """Give all that apply may write, as text."""
        tables = (
            "countries cities probe_locations providers servers server_protocols sonde.server_keys "
            "sonde.vantages sonde.targets sonde.plans sonde.assignments"
        )
        return {table: self.rows(f"SELECT t::text FROM {table} t ORDER BY 1") for table in tables.split()}


@pytest.fixture
def fleet(database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    """Give a fleet on a fresh database."""
    made = Fleet(database_url, tmp_path)
    with made.conn:
        yield made


def signs(applied: Applied) -> list[tuple[str, str, str]]:
    """Give the changes, shortened."""
    return [(change.sign, change.kind, change.key) for change in applied.changes]


def test_a_first_apply_adds_everything_and_assigns_it(fleet: Fleet) -> None:
    """Every table of the file becomes a row, and each vantage gets its tasks at revision 1."""
    applied = fleet.apply(FLEET)
    assert {sign for sign, _, _ in signs(applied)} == {"+"}
    assert fleet.rows("SELECT code, is_active FROM probe_locations ORDER BY 1") == [
        ("ams1", True),
        ("lon1", True),
    ]
    assert fleet.rows(
        "SELECT key, hostname FROM servers JOIN sonde.server_keys ON server_id = id ORDER BY 1"
    ) == [
        ("nl-1", "nl1.acme.test"),
        ("nl-2", "nl2.acme.test"),
    ]
    assert fleet.rows("SELECT name FROM countries ORDER BY 1") == [("Netherlands",), ("United Kingdom",)]
    rows = fleet.rows("SELECT revision, body FROM sonde.assignments")
    assert [revision for revision, _ in rows] == [1, 1]
    tasks = control_pb2.Assignment.FromString(bytes(rows[0][1])).tasks  # type: ignore[arg-type]
    assert [task.key for task in tasks] == ["core/nl-1/4", "core/nl-2/4", "core/site"]


@pytest.mark.timeout(400)
def test_ten_thousand_applies_of_the_same_draw_no_sequence_value(fleet: Fleet) -> None:
    """10 000 applies that change nothing leave every sequence and every row as it was."""
    fleet.apply(FLEET)
    before, sequences = fleet.everything(), fleet.rows(SEQUENCES)
    same = load_fleet(fleet.file)
    fleet.conn.execute("SET synchronous_commit = off")
    for _ in range(10_000):
        assert apply(fleet.conn, same).changes == []
    assert fleet.rows(SEQUENCES) == sequences
    assert fleet.everything() == before


def test_what_is_gone_is_deactivated_and_comes_back_as_itself(fleet: Fleet) -> None:
    """A removed server keeps its row and key, is told to no agent, and returns with the same id."""
    fleet.apply(FLEET)
    ids = fleet.rows("SELECT key, server_id FROM sonde.server_keys ORDER BY 1")
    gone = fleet.apply(FLEET.replace(NL_2, ""))
    assert signs(gone) == [("-", "server", "nl-2")]
    assert fleet.rows("SELECT is_active FROM servers ORDER BY id") == [(True,), (False,)]
    (revision, body), *_ = fleet.rows("SELECT revision, body FROM sonde.assignments")
    assert revision == 2
    assert b"nl-2" not in bytes(body)  # type: ignore[arg-type]
    back = fleet.apply(FLEET)
    assert signs(back) == [("~", "server", "nl-2")]
    assert fleet.rows("SELECT key, server_id FROM sonde.server_keys ORDER BY 1") == ids


def test_columns_of_others_are_never_overwritten(fleet: Fleet) -> None:
    """A change of what the file owns leaves affiliate_link, logo_url, coordinates and a website untouched."""
    fleet.apply(FLEET)
    fleet.conn.execute(
        "UPDATE providers SET affiliate_link = 'a', logo_url = 'l', website_url = 'https://w.test'"
    )
    fleet.conn.execute("UPDATE cities SET latitude = 52.37, longitude = 4.9")
    changed = fleet.apply(FLEET.replace('"Acme VPN"', '"Acme"'))
    assert changed.changes[0].fields == {"name": ("Acme VPN", "Acme")}
    assert fleet.rows("SELECT name, affiliate_link, logo_url, website_url FROM providers") == [
        ("Acme", "a", "l", "https://w.test")
    ]
    assert fleet.rows("SELECT DISTINCT latitude::float8 FROM cities") == [(52.37,)]


def test_updated_at_moves_only_with_a_change(fleet: Fleet) -> None:
    """Of two servers, only the changed one gets a new updated_at."""
    fleet.apply(FLEET)
    before = dict(fleet.rows("SELECT hostname, updated_at FROM servers"))
    fleet.apply(FLEET.replace("192.0.2.1", "192.0.2.9"))
    after = dict(fleet.rows("SELECT hostname, updated_at FROM servers"))
    assert before["nl2.acme.test"] == after["nl2.acme.test"]
    assert before["nl1.acme.test"] != after["nl1.acme.test"]


def test_a_dry_run_writes_nothing_and_shows_the_same_difference(fleet: Fleet) -> None:
    """The difference of a dry run is that of the apply after it, and the database is as before."""
    fleet.apply(FLEET)
    before = fleet.everything()
    other = FLEET.replace(NL_2, "").replace("60s", "90s")
    dry = fleet.apply(other, dry_run=True)
    assert fleet.everything() == before
    assert fleet.apply(other).changes == dry.changes != []


def test_servers_of_an_adopted_database_are_recognised(fleet: Fleet) -> None:
    """Rows from before any fleet file are matched by name or address, and keep their ids."""
    fleet.conn.execute("INSERT INTO countries (iso_code, name) VALUES ('NL', 'Holland')")
    fleet.conn.execute("INSERT INTO cities (country_id, name) VALUES (1, 'Amsterdam')")
    fleet.conn.execute("INSERT INTO providers (slug, name, affiliate_link) VALUES ('acme', 'Acme VPN', 'x')")
    fleet.conn.execute(
        "INSERT INTO servers (provider_id, city_id, hostname, ip_address) VALUES "
        "(1, 1, 'NL2.acme.test', NULL), (1, 1, NULL, '192.0.2.1'), (1, 1, 'other.acme.test', NULL)"
    )
    applied = fleet.apply(FLEET)
    assert dict(fleet.rows("SELECT key, server_id FROM sonde.server_keys")) == {"nl-1": 2, "nl-2": 1}
    assert fleet.rows("SELECT name FROM countries WHERE iso_code = 'NL'") == [("Holland",)]
    assert fleet.rows("SELECT is_active FROM servers WHERE id = 3") == [(True,)]
    assert applied.left_alone == {"server": 1}
    assert fleet.apply(FLEET).changes == []


def test_two_servers_may_swap_their_names(fleet: Fleet) -> None:
    """A swap of hostnames passes the unique key and keeps each key's row."""
    fleet.apply(FLEET)
    ids = dict(fleet.rows("SELECT key, server_id FROM sonde.server_keys"))
    swapped = (
        FLEET.replace("nl1.acme", "nlX.acme").replace("nl2.acme", "nl1.acme").replace("nlX.acme", "nl2.acme")
    )
    fleet.apply(swapped)
    assert dict(fleet.rows("SELECT hostname, id FROM servers")) == {
        "nl1.acme.test": ids["nl-2"],
        "nl2.acme.test": ids["nl-1"],
    }


def test_a_new_key_for_a_known_server_is_refused(fleet: Fleet) -> None:
    """A server's key can't be renamed: spooled results name it."""
    fleet.apply(FLEET)
    with pytest.raises(ConfigError) as caught:
        fleet.apply(FLEET.replace('key = "nl-2"', 'key = "nl-two"'))
    assert 'write key = "nl-2"' in str(caught.value)


def test_an_unknown_protocol_is_refused_with_the_known_ones(fleet: Fleet) -> None:
    """The mistake names the protocols that the database knows."""
    with pytest.raises(ConfigError, match='"Wireguard" is no protocol; known: IKEv2') as caught:
        fleet.apply(FLEET.replace('["WireGuard"]', '["Wireguard"]'))
    assert len(caught.value.messages) == 1


def test_a_change_is_notified(fleet: Fleet, database_url: str) -> None:
    """Collectors that listen hear of a change of tasks, and of nothing else."""
    with psycopg.connect(database_url, autocommit=True) as listener:
        listener.execute("LISTEN sonde_assignments")
        fleet.apply(FLEET)
        fleet.apply(FLEET)
        heard = list(listener.notifies(timeout=10, stop_after=1))
        assert len(heard) == 1
        assert list(listener.notifies(timeout=0)) == []


def test_a_vantages_weight_is_the_files(fleet: Fleet) -> None:
    """A weight is 1 where the file says nothing, and what it says once it does."""
    fleet.apply(FLEET)
    weights = "SELECT weight FROM sonde.vantages JOIN probe_locations ON id = probe_id ORDER BY code"
    assert fleet.rows(weights) == [(1,), (1,)]
    applied = fleet.apply(FLEET.replace("monthly_gb = 50", "monthly_gb = 50\nweight = 2.5"))
    assert [(each.key, each.fields) for each in applied.changes] == [("lon1", {"weight": (1, 2.5)})]
    assert fleet.rows(weights) == [(1,), (2.5,)]
    with pytest.raises(ConfigError, match="weight"):
        fleet.apply(FLEET.replace("monthly_gb = 50", "weight = 0"))
