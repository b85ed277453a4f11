"""The README's way to production, typed word by word on two fresh hosts."""

import os
import re
from pathlib import Path

import pytest
from support.bare_hosts import bare_hosts, lacking
from support.debs import ROOT
from support.page import Command, commands, section
from support.programs import eventually

pytestmark = [
    pytest.mark.root,
    pytest.mark.quiet,
    pytest.mark.xdist_group("packages"),
    pytest.mark.timeout(600),
]

HOSTS = {"collector.example.com": "10", "ams1.example.com": "11"}
WHAT_IS_THERE: dict[str, tuple[list[str], set[int]]] = {
    "collector": (["sonde-collector", "sonde-agent"], {7443, 7444}),
    "ams1": (["sonde-agent"], set()),
}
"""Services, and the ports that other hosts could reach, as the page tells the firewall."""
SSH = 22
BUILD = Command("you", "make deb")
"""What is typed and not run: the fixture `debs` has built them, by the same program."""


def test_the_page_ends_with_rows_from_both_hosts(debs: dict[str, Path], tmp_path: Path) -> None:
    """Every command succeeds; the last show both agents connected, and rows of both; no other port opens."""
    if os.geteuid():
        pytest.skip("needs root")
    if without := lacking():
        pytest.skip(f"needs {', '.join(without)}")
    (first, *typed, agents, rows) = commands(section((ROOT / "README.md").read_text(), "In production"))
    assert first == BUILD
    (tmp_path / "dist").symlink_to(debs["sonde-agent"].parent)
    with bare_hosts(tmp_path, HOSTS) as bare:

        def run(command: Command) -> str:
            host = f"{command.who}.example.com"
            done = bare.you(command.text, 200) if command.who == "you" else bare.on(host, command.text, 200)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            return done.stdout

        for command in typed:
            run(command)
        told = eventually(
            lambda: re.fullmatch(r"ams1\t\d+\t[\d.]+\nfra1\t\d+\t[\d.]+\n", run(rows)),
            60,
            lambda: run(agents),
        )
        assert told
        shown = run(agents)
        for vantage in ("ams1", "fra1"):
            (line,) = (line for line in shown.splitlines() if line.startswith(vantage))
            assert "ends in" in line
        for host, (units, ports) in WHAT_IS_THERE.items():
            machine = bare.hosts[f"{host}.example.com"]
            for unit in units:
                state = machine.properties(unit, "ActiveState", "UnitFileState", "NRestarts")
                assert state == {"ActiveState": "active", "UnitFileState": "enabled", "NRestarts": "0"}
            listening = re.findall(r" (?:0\.0\.0\.0|\*|\[::\]):(\d+) ", machine.said("ss", "-Htln"))
            assert set(map(int, listening)) == {SSH, *ports}
