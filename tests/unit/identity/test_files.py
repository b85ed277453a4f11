"""The files of an identity: all of them at once, or as they were."""

import contextlib
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sonde_agent.identity import files as module
from sonde_agent.identity.files import IdentityFiles


def _held(files: IdentityFiles) -> tuple[bytes, bytes, bytes]:
    return files.key.read_bytes(), files.cert.read_bytes(), files.ca.read_bytes()


def test_a_new_identity_takes_the_place_of_the_old(tmp_path: Path) -> None:
    """Only the newest is there, readable by its owner alone."""
    files = IdentityFiles(tmp_path / "state")
    files.store(key=b"k1", cert=b"c1", ca=b"a1")
    files.store(key=b"k2", cert=b"c2", ca=b"a2")
    assert _held(files) == (b"k2", b"c2", b"a2")
    assert len(list((tmp_path / "state").iterdir())) == 3, "the link, what it names, the lock"
    for path in (files.key, files.cert, files.ca):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.key.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("after", range(6))
def test_whenever_it_fails_key_and_certificate_belong_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """A disk that ends at any write leaves the old identity whole, or the new one."""
    files = IdentityFiles(tmp_path)
    files.store(key=b"k1", cert=b"c1", ca=b"a1")
    real, calls = module.os.fsync, iter(range(100))

    def fsync(handle: int) -> None:
        if next(calls) == after:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(module.os, "fsync", fsync)
    try:
        files.store(key=b"k2", cert=b"c2", ca=b"a2")
    except OSError:
        assert _held(files) in ((b"k1", b"c1", b"a1"), (b"k2", b"c2", b"a2"))
    else:
        assert after == 5, "three files, their folder, the folder above: five times"
    monkeypatch.undo()
    files.store(key=b"k3", cert=b"c3", ca=b"a3")
    assert _held(files) == (b"k3", b"c3", b"a3")
    assert len(list(tmp_path.iterdir())) == 3


def test_many_at_once_leave_one_whole_identity(tmp_path: Path) -> None:
    """An operator enrols while the agent renews, again and again: what is in use is one of theirs, whole."""
    files, seen = IdentityFiles(tmp_path), set()

    def store(number: int) -> None:
        for _ in range(10):
            files.store(key=b"k%d" % number, cert=b"c%d" % number, ca=b"a")
            with contextlib.suppress(FileNotFoundError):  # tidied up between the link and the file
                seen.add(files.cert.read_bytes())

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(store, range(4)))
    key, cert, _ = _held(files)
    assert key[1:] == cert[1:]
    assert seen <= {b"c0", b"c1", b"c2", b"c3"}
    assert len(list(tmp_path.iterdir())) == 3


def test_the_lines_are_what_agent_toml_takes(tmp_path: Path) -> None:
    """They name the link, so that they stay true for every later certificate."""
    lines = IdentityFiles(tmp_path).lines("collector.example.com:7444")
    assert f'cert = "{tmp_path}/identity/cert.pem"' in lines
    assert lines.startswith("[tls]\n")
    assert 'enroll = "collector.example.com:7444"' in lines
