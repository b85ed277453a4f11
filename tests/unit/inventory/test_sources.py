"""What providers' files and lists say: servers, ways, and every line that can't be used."""

import base64
import json
import os
from pathlib import Path

import pytest

from sonde_collector.inventory.fleet_file import Fleet, load_fleet
from sonde_collector.inventory.sources.read import read_sources
from sonde_collector.inventory.way import Reading
from sonde_proto.toml_config import ConfigError

KEY = base64.b64encode(bytes(range(32))).decode()
OUR_KEY = base64.b64encode(bytes(range(1, 33))).decode()
CONF = f"""[Interface]
PrivateKey = {OUR_KEY}
Address = 10.2.0.2/32

[Peer]
PublicKey = {KEY}
AllowedIPs = 0.0.0.0/0
Endpoint = 192.0.2.7:51820
"""
HEAD = """
[[provider]]
key = "acme"
name = "Acme"

[[provider.account]]
key = "acme-wg"
sessions = 5

[[provider.source]]
account = "acme-wg"
"""


def fleet(folder: Path, source: str) -> Fleet:
    """Give a fleet with one source."""
    (folder / "fleet.toml").write_text(HEAD + source)
    return load_fleet(folder / "fleet.toml")


def read(folder: Path, source: str) -> Reading:
    """Give what the source says."""
    (reading,) = read_sources(fleet(folder, source))
    return reading


def test_a_file_name_tells_country_and_city(tmp_path: Path) -> None:
    """A template reads code and city's code; the server's public key is kept, and ours is not."""
    (tmp_path / "wg").mkdir()
    (tmp_path / "wg/uk-lon-wg-001.conf").write_text(CONF)
    (one,) = read(
        tmp_path,
        'path = "wg"\npattern = "{country}-{city}-wg-*"\ncountries = {uk = "GB"}\ncities = {lon = "London"}',
    ).listed
    assert (one.country, one.city, one.address, one.hostname) == ("GB", "London", "192.0.2.7", None)
    way = one.way
    assert (way.protocol, way.credential, way.profile) == ("WireGuard", "acme-wg", "uk-lon-wg-001.conf")
    assert (way.host, way.port, way.public_key) == ("192.0.2.7", 51820, KEY)
    assert OUR_KEY not in repr(one)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("server.conf", 'does not match pattern "{country}-{city}"'),
        ("uk-london.conf", '"uk" is no country'),
        ("nl-rtm.conf", 'city "rtm" is not in cities'),
    ],
)
def test_what_does_not_match_is_listed_and_never_guessed(tmp_path: Path, name: str, why: str) -> None:
    """A name that tells no country or city has none, and the words say why."""
    (tmp_path / "wg").mkdir()
    (tmp_path / "wg" / name).write_text(CONF)
    (one,) = read(
        tmp_path, 'path = "wg"\npattern = "{country}-{city}"\ncities = {ams = "Amsterdam", london = "London"}'
    ).listed
    assert one.country is None
    assert why in one.unplaced


def test_each_bad_file_is_named_with_its_line(tmp_path: Path) -> None:
    """Hooks, a pipe and a broken link are told one by one, and the good file beside them is read."""
    folder = tmp_path / "wg"
    folder.mkdir()
    (folder / "nl-1.conf").write_text(CONF)
    (folder / "nl-2.conf").write_text(CONF.replace("Address", "PostUp = touch /tmp/x\nAddress"))
    (folder / "nl-4.conf").symlink_to(folder / "gone")
    (folder / "readme.txt").write_text("hello")
    os.mkfifo(folder / "nl-3.conf")
    reading = read(tmp_path, 'path = "wg"\npattern = "{country}-*"\ncity = "Amsterdam"')
    assert [one.name for one in reading.listed] == ["nl-1"]
    assert reading.other == ("readme.txt",)
    told = "\n".join(reading.bad)
    assert "nl-2.conf:3: " in told
    assert "nl-3.conf: can't be read: it is no file" in told
    assert "nl-4.conf: can't be read: No such file" in told


def test_a_csv_is_read_by_its_header(tmp_path: Path) -> None:
    """Columns are found by name, the source's protocol is kept, and a bad row is told with its line."""
    (tmp_path / "list.csv").write_text(
        "Country,City,Hostname,IP,Protocol,Public_Key,Load\n"
        f"Sweden,Stockholm,se1.acme.test,192.0.2.1,WireGuard;OpenVPN-UDP,{KEY},7\n"
        "Atlantis,Nowhere,x.acme.test,192.0.2.2,OpenVPN-UDP,,1\n"
        "Germany,Berlin,de1.acme.test,192.0.2.3,WireGuard,,1\n"
    )
    reading = read(tmp_path, 'path = "list.csv"\nprotocols = ["WireGuard"]')
    assert [(one.country, one.way.protocol, one.way.host) for one in reading.listed] == [
        ("SE", "WireGuard", "192.0.2.1"),
    ]
    assert all(one.way.placed for one in reading.listed)
    assert reading.bad[0].startswith('list.csv:3: "Atlantis" is no country')
    assert reading.bad[1] == "list.csv:4: has no public key, and WireGuard needs the server's"


def test_a_csv_without_what_is_needed_is_refused(tmp_path: Path) -> None:
    """A header without host and city is told with both, and a list without its protocol is refused."""
    (tmp_path / "list.csv").write_text("country,load\nSE,1\n")
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, 'path = "list.csv"\nprotocols = ["WireGuard"]')
    assert len(caught.value.messages) == 2
    with pytest.raises(ConfigError, match="must name one for a list"):
        read(tmp_path, 'path = "list.csv"')


def test_gluetuns_list_is_read_by_section(tmp_path: Path) -> None:
    """The provider's section gives the servers of a protocol; an entry that can't be used is named."""
    servers = [
        {"vpn": "wireguard", "country": "Czech Republic", "city": "Prague", "hostname": "cz-1",
         "wgpubkey": KEY, "ips": ["2001:db8::1", "192.0.2.9"]},
        {"vpn": "openvpn", "country": "USA", "region": "New York", "hostname": "us-1", "ips": ["192.0.2.10"],
         "tcp": True, "udp": True},
        {"vpn": "openvpn", "country": "USA", "city": "Miami", "udp": True},
    ]  # fmt: skip
    (tmp_path / "servers.json").write_text(json.dumps({"version": 1, "Acme": {"servers": servers}}))
    path = 'path = "servers.json"\n'
    (one,) = read(tmp_path, path + 'protocols = ["WireGuard"]').listed
    assert (one.country, one.city, one.way.host, one.way.public_key) == ("CZ", "Prague", "192.0.2.9", KEY)
    reading = read(tmp_path, path + 'protocols = ["OpenVPN-TCP"]\ntemplate = "t.ovpn"')
    (one,) = reading.listed
    assert (one.country, one.city, one.way.host, one.way.profile) == (
        "US",
        "New York",
        "192.0.2.10",
        "t.ovpn",
    )
    assert reading.bad == ("servers.json: Acme.servers[2]: has neither a host name nor an address",)
    with pytest.raises(ConfigError, match="has no section"):
        read(tmp_path, path + 'protocols = ["WireGuard"]\nsection = "other"')


def test_names_that_no_table_or_terminal_takes_are_told(tmp_path: Path) -> None:
    """Names with control characters, of no text or too long cost their own file and are shown safely."""
    (tmp_path / "wg").mkdir()
    folder = os.fsencode(tmp_path / "wg")
    for name in (
        b"de-a\xff.conf",
        b"de-\x1b[31m.conf",
        b"de-c\n.conf",
        b"de-" + b"d" * 101 + b".conf",
        b"de-e.conf",
    ):
        Path(os.fsdecode(os.path.join(folder, name))).write_text(CONF)  # noqa: PTH118 -- bytes
    (tmp_path / "wg" / "\x1b[2J.txt").touch()
    reading = read(tmp_path, 'path = "wg"\npattern = "{country}-{city}"')
    assert [one.city for one in reading.listed] == [None, "E"]
    assert reading.listed[0].unplaced.startswith('city "ddd')
    told = [*reading.bad, *reading.other, reading.listed[0].unplaced]
    assert len(reading.bad) == 3
    assert all(line.isprintable() for line in told)


@pytest.mark.parametrize(
    "servers",
    ['{"vpn": "wireguard", "n": ' + "1" * 5000 + "}", "[" * 100_000, '{"a": NaN', '"\\ud800"', "1"],
    ids=["digits", "deep", "cut", "surrogate", "number"],
)
def test_a_list_that_is_nonsense_is_told_in_a_line(tmp_path: Path, servers: str) -> None:
    """Whatever a list of servers holds, it is refused or its entries are, in words that can be printed."""
    (tmp_path / "list.json").write_text('{"acme": {"servers": [' + servers + "]}}")
    try:
        told = read(tmp_path, 'path = "list.json"\nprotocols = ["WireGuard"]').bad
    except ConfigError as error:
        told = tuple(error.messages)
    assert len(told) == 1
    assert all(line.isprintable() for line in told)


def test_a_cell_that_no_column_takes_costs_its_row(tmp_path: Path) -> None:
    """Cities of any length, with NUL or escapes, and words without meaning are told safely by line."""
    rows = ["\x00", "x" * 101, "\x1b[31m"]
    (tmp_path / "list.csv").write_text(
        "country,city,hostname,protocol,public_key\n"
        + "".join(f"DE,B{city},h.acme.test,WireGuard,{KEY}\n" for city in rows)
        + f"DE,B,h.acme.test,\x1b[31m,{KEY}\n\x1b[31m,B,h.acme.test,WireGuard,{KEY}\n"
    )
    reading = read(tmp_path, 'path = "list.csv"\nprotocols = ["WireGuard"]')
    assert (reading.listed, len(reading.bad)) == ((), 5)
    assert all(line.isprintable() and len(line) < 300 for line in reading.bad)


def test_a_list_that_is_a_pipe_is_no_file(tmp_path: Path) -> None:
    """A pipe in the place of a list is refused instead of waited for."""
    os.mkfifo(tmp_path / "list.csv")
    with pytest.raises(ConfigError, match="is no file"):
        read(tmp_path, 'path = "list.csv"\nprotocols = ["WireGuard"]')


def test_a_source_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    """A pattern without a city and a missing folder are mistakes of the fleet file."""
    with pytest.raises(ConfigError) as caught:
        fleet(tmp_path, 'path = "wg"\npattern = "{country}-*"')
    assert "provider[0].source[0].pattern: tells no city" in str(caught.value)
    with pytest.raises(ConfigError, match="No such file"):
        read(tmp_path, 'path = "wg"\ncity = "X"\ncountry = "NL"')
