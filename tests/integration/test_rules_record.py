"""`sonde-collector rules record` for real: sonde-agent asks a platform by HTTPS that plays a cassette."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.played_platform import TELLTALES
from support.programs import BIN

import sonde_rules
from sonde_collector.cli import main
from sonde_unlock.reading import read_cassettes

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network of its own"),
]


def record(
    folder: Path, slug: str, behaviour: str, *options: str, command: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    """Record a behaviour of a shipped platform, played in a network of its own."""
    run = command or (
        str(BIN / "sonde-collector"),
        "rules",
        "record",
        slug,
        "--ca-file",
        str(folder / "ca.pem"),
    )
    return subprocess.run(
        [
            "unshare", "--net", "--mount", "--propagation", "private", "--",
            sys.executable, "-m", "support.played_platform",
            str(folder), str(sonde_rules.CASSETTES / f"{slug}.yaml"), behaviour, "--", *run, *options,
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("slug", "behaviour", "mints"),
    [("hbo-max", "offered-se", {"st"}), ("disney-plus", "offered-se", {"assertion", "refresh"})],
)
def test_what_a_platform_answers_becomes_a_cassette_without_anybodys_data(
    slug: str, behaviour: str, mints: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cassette gives the platform's verdict, its tokens are stateful, and nothing told is in it."""
    done = record(tmp_path, slug, behaviour)
    assert done.returncode == 0, done.stderr
    out = tmp_path / f"{slug}.recorded.yaml"
    text = out.read_text()
    told = json.loads((tmp_path / TELLTALES).read_text())
    assert len(told) > 10
    assert not [each for each in told if each in text]
    assert "acme.co.uk" not in text
    assert "sonde-token" not in text
    (cassette,) = read_cassettes(text, out.name)
    (played,) = (
        one
        for one in read_cassettes((sonde_rules.CASSETTES / f"{slug}.yaml").read_text(), slug)
        if one.behaviour == behaviour
    )
    assert cassette.expect == played.expect
    assert (cassette.provenance, cassette.country) == ("recorded", played.country)
    assert {name for one in cassette.exchanges for name in one.mints} == mints
    assert {name for one in cassette.exchanges for name in one.consumes} == mints
    assert any("stand-ins" in line for line in cassette.scrubbed)
    monkeypatch.chdir(tmp_path)
    assert main(["rules", "explain", slug, "--answers", str(out)]) == 0
    again = record(tmp_path, slug, behaviour)
    assert again.returncode == 1
    assert "exists: nothing was asked" in again.stderr
    assert out.read_text() == text


def test_a_platform_that_cannot_be_asked_leaves_nothing_behind(tmp_path: Path) -> None:
    """Without the platform's authority there is no answer, and no cassette of what was not the platform."""
    done = record(
        tmp_path, "dazn", "allowed-de",
        command=(str(BIN / "sonde-collector"), "rules", "record", "dazn"),
    )  # fmt: skip
    assert done.returncode == 1
    assert "certificate: that was not the platform" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.yaml"))


def test_without_the_agents_program_it_says_so(tmp_path: Path) -> None:
    """A host that has the collector alone hears what is missing."""
    alone = tmp_path / "bin"
    alone.mkdir()
    program = alone / "sonde-collector"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom sonde_collector.entry import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    done = subprocess.run(
        [str(program), "rules", "record", "dazn"],
        cwd=tmp_path, env={"PATH": str(alone)}, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    said = "sonde-agent asks the platform and is not on this host: install sonde-agent[unlock]"
    assert done.stderr == f"sonde-collector: {said}\n"
