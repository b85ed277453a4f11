"""`sonde-collector rules record --through`: what an exit is told becomes a cassette of its country."""

import json
import time
from pathlib import Path

import pytest
from support.lab_checks import account
from support.programs import BIN

from sonde_lab.lab import Lab
from sonde_lab.topology import SERVERS
from sonde_unlock.reading import read_cassettes

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("lab")]


@pytest.mark.parametrize("key", ["wg-se", "ovpn-de-udp", "ike-us"])
def test_a_cassette_is_recorded_through_a_tunnel(key: str, lab: Lab, tmp_path: Path) -> None:
    """Verdict and region are those that are true of the exit, and its address is not in the cassette."""
    truth = lab.truth(time.time())
    server = next(one for one in truth["servers"] if one["key"] == key)
    out = tmp_path / "netflix.yaml"
    words: list[str | Path] = [BIN / "sonde-collector", "rules", "record", "netflix", "--out", out, "--json"]
    words += ["--through", lab.folder / server["profile"], *account(lab.folder / "secrets")]
    words += ["--ca-file", lab.folder / truth["origin"]["world"]["ca"]]
    with (tmp_path / "said").open("w+b") as said:
        running = lab.popen("nyc", words, stdout=said, stderr=said)
        code = running.wait(120)
    assert code == 0, (tmp_path / "said").read_text()
    assert json.loads((tmp_path / "said").read_text())["file"] == str(out)
    (cassette,) = read_cassettes(out.read_text(), out.name)
    true = truth["unlock"][key]["4"]["netflix"]
    assert (cassette.expect.verdict.value, cassette.expect.region) == (true["verdict"], true["region"])
    assert cassette.country == true["region"]
    exits = next(one.exit for one in SERVERS if one.key == key)
    assert exits
    assert not [address for address in exits if str(address) in out.read_text()]
