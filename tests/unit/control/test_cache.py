"""The cached assignment, and which assignment replaces which."""

from pathlib import Path

import pytest

from sonde_agent.control.cache import AssignmentCache
from sonde_agent.control.client import is_newer
from sonde_proto.v1 import control_pb2

A, B = b"a" * 16, b"b" * 16


def assignment(revision: int, database_id: bytes = A, *, unchanged: bool = False) -> control_pb2.Assignment:
    """An assignment of one task."""
    return control_pb2.Assignment(
        revision=revision,
        database_id=database_id,
        unchanged=unchanged,
        tasks=[control_pb2.Task(key=f"plan/{revision}", interval_ms=1000)],
    )


def test_what_was_stored_is_loaded(tmp_path: Path) -> None:
    """A rebooted agent finds its assignment, and no temporary file stays."""
    cache = AssignmentCache(tmp_path / "assignment")
    cache.store(assignment(1))
    cache.store(assignment(2))
    assert cache.load() == assignment(2)
    assert [file.name for file in tmp_path.iterdir()] == ["assignment"]


def test_no_cache_is_nothing_special(tmp_path: Path) -> None:
    """A first start has no assignment."""
    assert AssignmentCache(tmp_path / "assignment").load() is None


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_damaged_cache_is_ignored(
    tmp_path: Path, damage: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cut or changed file is ignored with one line in the log."""
    file = tmp_path / "assignment"
    AssignmentCache(file).store(assignment(1))
    file.write_bytes(file.read_bytes()[:-1] if damage is None else damage)
    assert AssignmentCache(file).load() is None
    assert capsys.readouterr().out.count("assignment_cache_corrupt") == 1


def test_unwritable_cache_is_no_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A disk that takes no more is logged; the agent goes on with what it was told."""
    AssignmentCache(tmp_path / "missing" / "assignment").store(assignment(1))
    assert "assignment_cache_unwritten" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("current", "offered", "taken"),
    [
        (None, assignment(1), True),
        (assignment(1), assignment(2), True),
        (assignment(2), assignment(2), False),
        (assignment(2), assignment(1), False),
        (assignment(9), assignment(1, B), True),
        (assignment(1), assignment(2, unchanged=True), False),
        (None, assignment(0), False),
    ],
)
def test_which_assignment_replaces_which(
    current: control_pb2.Assignment | None, offered: control_pb2.Assignment, *, taken: bool
) -> None:
    """A higher revision, or any of another database, replaces the one in force; nothing else does."""
    assert is_newer(current, offered) is taken
