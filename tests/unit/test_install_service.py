"""install-service: where it refuses to be, and what it would write."""

import stat
from pathlib import Path

import pytest

from sonde_agent.cli import main
from sonde_agent.systemd.placed import MARK, Installed, look, unfit

FOLDER = stat.S_IFDIR | 0o755


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (Installed(Path("/home"), 0, FOLDER), "ProtectHome"),
        (Installed(Path("/tmp"), 0, FOLDER | stat.S_ISVTX | 0o022), "PrivateTmp"),
        (Installed(Path("/opt/sonde"), 1000, FOLDER), "must belong to root"),
        (Installed(Path("/opt/sonde"), 0, FOLDER | 0o020), "only root may write"),
        (Installed(Path("/opt/sonde"), 0, stat.S_IFDIR | 0o700), "chmod o+x"),
        (Installed(Path("/opt/my sonde"), 0, FOLDER), "can't name plainly"),
    ],
)
def test_a_place_that_the_units_can_not_or_must_not_use_is_refused(one: Installed, said: str) -> None:
    """One line a mistake, with the path and why."""
    (line,) = unfit([one])
    assert str(one.path) in line
    assert said in line


def test_a_place_of_roots_that_all_may_read_is_fit() -> None:
    """As of an environment in /opt; also below a folder that all may write to, if it is sticky."""
    places = [("/", FOLDER), ("/opt", FOLDER | stat.S_ISVTX | 0o022), ("/opt/sonde", FOLDER)]
    program = Installed(Path("/opt/sonde/bin/python"), 0, stat.S_IFREG | 0o755)
    assert unfit([*(Installed(Path(path), 0, mode) for path, mode in places), program]) == []


def test_folders_behind_a_link_are_looked_at_too(tmp_path: Path) -> None:
    """A link in a good place to a program in a bad one is as bad."""
    real = tmp_path / "open" / "python"
    real.parent.mkdir(mode=0o777)
    real.touch()
    (tmp_path / "python").symlink_to(real)
    assert {tmp_path, real.parent, real} <= {one.path for one in look([tmp_path / "python"])}


def test_a_dry_run_prints_every_file_and_writes_none(capsys: pytest.CaptureFixture[str]) -> None:
    """Any user may look: five files, each marked as ours, with this environment's program."""
    assert main(["install-service", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert told.count(MARK) == told.count("\n--- ") + 1 == 5
    assert "-I -m sonde_agent.entry run --config /etc/sonde/agent.toml" in told
    assert not Path("/etc/systemd/system/sonde-agent.service").exists()
