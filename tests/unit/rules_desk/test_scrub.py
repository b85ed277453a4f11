"""What a recording loses: whatever says who or where somebody is, and nothing that a rule looks for."""

import ipaddress
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sonde_collector.rules.scrub import Scrubber, suspicions

HEX = "0123456789abcdef"


@pytest.mark.parametrize(
    "secret",
    [
        "81.2.69.142",
        "2a02:6b8::2:242",
        "joe.bloggs@mail.example.net",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "6f0e4a52-5e4f-4c5b-9d2b-0a3c5f3f9a10",
        "d41d8cd98f00b204e9800998ecf8427e",
        "AbC123defGHI456jklMNO789pq",
    ],
)
def test_what_looks_like_somebodys_is_replaced_wherever_it_stands(secret: str) -> None:
    """An address, a mail address, a token or an id leaves a page, a script, a table and a URL."""
    text = f'<p>{secret}</p> x = "{secret}"; {{"a": ["{secret}"]}} https://a.example/b?c={secret}&d=1'
    assert secret not in Scrubber().text(text)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sessionId", "short-one"),
        ("user_name", "Joe"),
        ("city", "Leeds"),
        ("ipAddress", "n.a.4"),
        ("auth", "xyzzy"),
    ],
)
def test_what_a_key_calls_personal_is_replaced_whatever_it_looks_like(key: str, value: str) -> None:
    """Values are judged by their keys too, in JSON and in query strings; a country beside them stays."""
    text = Scrubber().text(json.dumps({key: value + "!", "countryCode": "GB", "n": f"/x?{key}={value}1"}))
    assert value not in text
    assert '"countryCode": "GB"' in text


def test_coordinates_and_account_numbers_become_zero() -> None:
    """A number under such a key says where or who just as well."""
    given = '{"latitude": 53.8008, "longitude":-1.5491, "userId": 123456, "year": 2026, "age":41}'
    assert Scrubber().text(given) == '{"latitude": 0, "longitude":0, "userId": 0, "year": 2026, "age":41}'


def test_the_same_value_gets_the_same_stand_in() -> None:
    """A token that a later request must bring is still the same one after scrubbing."""
    scrubber = Scrubber()
    token = scrubber.stand_in("s3cr3t-t0ken-of-this-run", "token")
    assert token == scrubber.stand_in("s3cr3t-t0ken-of-this-run", "token")
    assert scrubber.text("a=s3cr3t-t0ken-of-this-run; b") == f"a={token}; b"
    assert token != scrubber.stand_in("another-t0ken-of-this-run", "token")


def test_what_a_rule_looks_for_stays() -> None:
    """A marker that happens to look like a token is kept: without it the cassette shows nothing."""
    marker = "vs-hls-push-uk-live-2026-unified-player-x1"
    assert marker not in Scrubber().text(marker)
    assert Scrubber(keep=[marker]).text(marker) == marker


@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_a_second_scrubbing_changes_nothing(text: str) -> None:
    """Stand-ins are nobody's: scrubbing what was scrubbed leaves it as it is."""
    once = Scrubber().text(text)
    assert Scrubber(keep=re.findall(r"fake-[a-z]+-[0-9]+", once)).text(once) == once


@given(
    st.ip_addresses(v=4).filter(lambda one: one.is_global)
    | st.ip_addresses(v=6).filter(lambda one: one.is_global)
)
def test_no_address_of_the_internet_is_left(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Every address is replaced by one that is set aside for documentation."""
    text = Scrubber().text(f'{{"seen": "{address}"}} from {address}, port 443')
    assert not suspicions(text)
    assert str(address) not in text


def test_suspicions_name_the_line_and_leave_examples_alone() -> None:
    """A cassette with somebody's address in it is a mistake of its line; stand-ins and versions are none."""
    text = (
        "a: 192.0.2.1\nb: Chrome/120.0.0.0 person1@example.com\nc: 81.2.69.142\nd: joe@acme.co.uk 2001:db8::1"
    )
    assert [problem.line for problem in suspicions(text)] == [3, 4]
