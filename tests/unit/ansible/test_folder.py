"""The module that makes a folder hold exactly what it is given."""

import getpass
import grp
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.collection import COLLECTION


def folder(path: Path, files: dict[str, str], *, check: bool = False, mode: str = "0600") -> dict[str, Any]:
    """Run the module as Ansible does on a host, as this user; give its answer."""
    given = {
        "path": str(path),
        "files": files,
        "owner": getpass.getuser(),
        "group": grp.getgrgid(os.getgid()).gr_name,
        "mode": mode,
        "_ansible_check_mode": check,
        "_ansible_tmpdir": str(path.parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(COLLECTION / "plugins/modules/folder.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


_RUN = """
import runpy, sys
from ansible.module_utils import basic
basic._ANSIBLE_ARGS, basic._ANSIBLE_PROFILE = sys.stdin.buffer.read(), "legacy"
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def held(path: Path) -> dict[str, str]:
    """Give what is in a folder."""
    return {str(file.relative_to(path)): file.read_text() for file in path.rglob("*") if file.is_file()}


def test_it_holds_exactly_these_files(tmp_path: Path) -> None:
    """Missing ones are written, others go, links are not followed, and then nothing changes."""
    path, other = tmp_path / "held", tmp_path / "other"
    (path / "old" / "older").mkdir(parents=True)
    (path / "old" / "older" / "file").write_text("x")
    (path / "same").write_text("same\n")
    other.mkdir()
    (other / "precious").write_text("x")
    (path / "link").symlink_to(other)
    wanted = {"same": "same\n", "profiles/a.conf": "PrivateKey = a\n", "profiles/b.conf": ""}
    first = folder(path, wanted)
    assert first["changed"]
    assert sorted(first["written"]) == ["profiles/a.conf", "profiles/b.conf"]
    assert first["removed"] == ["link", "old", "old/older", "old/older/file"]
    assert held(path) == wanted
    assert (other / "precious").exists()
    modes = {str(each.relative_to(path)): each.stat().st_mode & 0o777 for each in path.rglob("*")}
    assert modes == {"same": 0o600, "profiles": 0o750, "profiles/a.conf": 0o600, "profiles/b.conf": 0o600}
    again = folder(path, wanted)
    assert (again["changed"], again["written"], again["removed"]) == (False, [], [])
    assert folder(path, wanted, mode="0640")["changed"]
    assert (path / "same").stat().st_mode & 0o777 == 0o640


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    """It says what would be written and removed, also where the folder is not there yet."""
    path = tmp_path / "held"
    told = folder(path, {"a/b": "x"}, check=True)
    assert (told["changed"], told["written"]) == (True, ["a/b"])
    assert not path.exists()
    path.mkdir()
    (path / "old").write_text("x")
    assert folder(path, {}, check=True)["removed"] == ["old"]
    assert held(path) == {"old": "x"}


def test_a_name_that_leads_out_is_refused(tmp_path: Path) -> None:
    """Neither upwards nor from the root, and nothing is written."""
    for name in ("../out", "/out", "a/../../out", ""):
        told = folder(tmp_path / "held", {name: "x"})
        assert "is no name below" in told["msg"], name
    assert list(tmp_path.iterdir()) == []
