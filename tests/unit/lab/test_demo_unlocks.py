"""The demo's matrix: what is not the truth, and what is not there, is said."""

import datetime as dt
import tomllib
from pathlib import Path

from rich.console import Console

from sonde_lab.demo.unlocks import Matrix, agent
from sonde_lab.demo.watch import Unlock
from sonde_lab.world.packed import enabled_slugs

SLUGS = enabled_slugs()
TRUE = {"verdict": "available", "scope": "full", "region": "SE", "via": "native"}
AT = {"lab-se": dict.fromkeys(SLUGS, TRUE), "ams": dict.fromkeys(SLUGS, TRUE | {"region": "NL"})}


def line(slug: str, target: str | None = "lab-se", region: str = "SE", via: str | None = "native") -> Unlock:
    """An answer as the database has it."""
    return Unlock("ams", target, slug, dt.datetime.now(dt.UTC), "available", "full", region, via)


def shown(matrix: Matrix) -> str:
    """The table as text."""
    console = Console(width=120)
    with console.capture() as capture:
        console.print(matrix.table())
    return capture.get()


def test_the_whole_truth_has_nothing_to_say() -> None:
    """Where each answer is there and true, by tunnels and directly, nothing is wrong and nothing absent."""
    lines = [line(slug) for slug in SLUGS] + [line(slug, None, "NL") for slug in SLUGS]
    matrix = Matrix(lines, AT, ["ams"])
    assert (list(matrix.wrong()), list(matrix.absent())) == ([], [])
    assert f"{2 * len(SLUGS)} of {2 * len(SLUGS)} = truth" in shown(matrix)
    assert "≠ not" in shown(matrix)
    assert shown(matrix).count("≠") == 1


def test_each_part_of_an_answer_can_be_wrong() -> None:
    """Another region, or another way to it, is told with what is true, in words and in the table."""
    region, via = SLUGS[0], SLUGS[1]
    lines = [line(slug) for slug in SLUGS if slug not in (region, via)]
    matrix = Matrix([*lines, line(region, region="DE"), line(via, via="dns_proxy")], AT, ["ams"])
    assert list(matrix.wrong()) == [
        f"{region} at lab-se from ams: measured available full DE native, true available full SE native",
        f"{via} at lab-se from ams: measured available full SE dns_proxy, true available full SE native",
    ]
    assert shown(matrix).count("≠") == 3


def test_what_is_absent_is_told_unless_it_is_excused() -> None:
    """Each vantage and target without an answer is named with its platforms, but for the one excused."""
    matrix = Matrix([line(slug) for slug in SLUGS[1:]], AT, ["ams"])
    assert list(matrix.absent("ams")) == [f"no unlock result of ams at lab-se arrived: {SLUGS[0]}"]
    assert len(list(matrix.absent())) == 2


def test_the_agent_is_told_whose_rules_to_believe() -> None:
    """What is written for agent.toml is TOML, with the key, the pack and the lab's resolver."""
    world = {"ca": "world/ca.pem", "trusted_resolver": "203.0.113.53", "trusted_resolver_name": "r.example"}
    origin = {"ca": "origin/tls/ca.pem", "world": world}
    said = tomllib.loads(agent(Path("/demo"), "ed25519:KEY=", Path("/demo/lab"), origin))
    assert said["policy"] == {"rule_keys": ["ed25519:KEY="], "files": ["/demo/lab/origin/tls"]}
    assert said["unlock"] == {
        "pack": "/demo/unlock.pack",
        "ca_file": "/demo/lab/world/ca.pem",
        "trusted_resolver": "203.0.113.53",
        "trusted_resolver_name": "r.example",
    }
