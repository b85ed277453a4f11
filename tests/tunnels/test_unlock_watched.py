"""Who watches an unlock check by hand sees what was exchanged inside the tunnel, bodies and all."""

import json
import tempfile
import time
from pathlib import Path

import pytest
from support.lab_checks import account
from support.programs import BIN

from sonde_lab.lab import Lab
from sonde_lab.world import packed

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("lab")]


def test_trace_and_recording_come_out_of_the_tunnel(lab: Lab) -> None:
    """Each exchange, in pieces where it is long, reaches the process that the person started."""
    truth = lab.truth(time.time())
    world = truth["origin"]["world"]
    server = next(one for one in truth["servers"] if one["key"] == "wg-se")
    with tempfile.TemporaryDirectory(prefix="sonde-unlock-") as folder:
        file, pack = Path(folder) / "exchanges.json", Path(folder) / "unlock.pack"
        key = packed.write(pack, enabled=False)
        done = lab.run(
            "ams",
            [BIN / "sonde-agent", "check", "unlock", "disney-plus", "netflix", "--trace", "--record", file,
             "--through", lab.folder / server["profile"], *account(lab.folder / "secrets"),
             "--pack", pack, "--rule-key", key, "--ca-file", lab.folder / world["ca"],
             "--trusted-resolver", world["trusted_resolver"],
             "--trusted-resolver-name", world["trusted_resolver_name"]],
            60,
        )  # fmt: skip
        recorded = json.loads(file.read_text())["exchanges"]
    assert done.returncode == 0, done.stderr
    assert {one["slug"] for one in recorded} == {"disney-plus", "netflix"}
    assert all(one["status"] for one in recorded)
    assert any("og:video" in one["body"]["text"] for one in recorded if one["slug"] == "netflix")
    lines = [line for line in done.stderr.splitlines() if line.startswith(("disney-plus", "netflix"))]
    assert len(lines) == len(recorded)
    assert "✓ available" in done.stdout
