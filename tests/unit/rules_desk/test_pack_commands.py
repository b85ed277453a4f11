"""`rules key`, `pack` and `show`: what is signed can be shown, what was touched can't."""

import base64
import json
import stat
from importlib.metadata import version
from pathlib import Path

import pytest

import sonde_rules
from sonde_collector.cli import main
from sonde_unlock import pack


@pytest.fixture
def key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, str]:
    """A signing key, and its public half as agent.toml has it."""
    path = tmp_path / "rules.key"
    assert main(["rules", "key", str(path)]) == 0
    line = capsys.readouterr().out
    assert line.startswith('rule_keys = ["ed25519:')
    return path, line.split('"')[1]


@pytest.fixture
def packed(tmp_path: Path, key: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> Path:
    """A pack of two shipped rules."""
    path = tmp_path / "unlock.pack"
    assert main(["rules", "pack", "netflix", "dazn", "--key", str(key[0]), "--out", str(path)]) == 0
    assert f"version {version('sonde-rules')}, 2 rules" in capsys.readouterr().out
    return path


def test_a_key_is_its_owners_alone_and_never_overwritten(
    key: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The file has mode 0600; a second `rules key` of that name, and one through a link, change nothing."""
    path, public = key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    assert pack.public_key(before) == public
    link = path.with_name("link")
    link.symlink_to(path.with_name("elsewhere"))
    for taken in (path, link):
        assert main(["rules", "key", str(taken)]) == 1
        assert "a signing key is never overwritten" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert not path.with_name("elsewhere").exists()


def test_what_was_packed_is_shown(
    packed: Path, key: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Version, signer and rules; with the key that agents believe, and without."""
    assert main(["rules", "show", str(packed)]) == 0
    out = capsys.readouterr().out
    assert f"signed by {key[1]}" in out
    assert "--rule-key says whether it is one of yours" in out
    assert main(["rules", "show", str(packed), "--rule-key", key[1], "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["version"], told["signed_by"], told["known_key"]) == (version("sonde-rules"), key[1], True)
    assert [rule["slug"] for rule in told["rules"]] == ["dazn", "netflix"]


def test_a_pack_that_was_touched_is_refused(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One changed rule, or any one changed byte, or the end cut off: one line, exit code 1."""
    whole = packed.read_bytes()
    envelope = json.loads(whole)
    body = base64.b64decode(envelope["pack"]).replace(b"Netflix", b"Netfl1x")
    altered = whole.replace(envelope["pack"].encode(), base64.b64encode(body))
    for data in (
        altered,
        whole[:-1],
        whole[:200],
        b"",
        b"{}",
        whole + b"\n",
        whole.replace(b"ed25519", b"ed448"),
    ):
        packed.write_bytes(data)
        assert main(["rules", "show", str(packed)]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert len(err.splitlines()) == 1
    packed.write_bytes(altered)
    main(["rules", "show", str(packed)])
    assert "altered after it was signed" in capsys.readouterr().err


def test_an_unsigned_pack_and_one_of_somebody_else_are_refused(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The content alone is no pack; with --rule-key only that key's packs are."""
    main(["rules", "key", str(tmp_path / "other.key")])
    other = capsys.readouterr().out.split('"')[1]
    assert main(["rules", "show", str(packed), "--rule-key", other]) == 1
    assert "not accepted here" in capsys.readouterr().err
    packed.write_bytes(base64.b64decode(json.loads(packed.read_bytes())["pack"]))
    assert main(["rules", "show", str(packed)]) == 1
    assert "no signed pack" in capsys.readouterr().err


def test_only_enabled_rules_are_packed_unless_all_are_asked_for(
    key: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default is the shipped rules that are on; --all takes the rest along; none at all is no pack."""
    out = tmp_path / "p"
    shipped = [path for path in sonde_rules.RULES.glob("*.yaml") if "enabled: true" in path.read_text()]
    command = ["rules", "pack", "--key", str(key[0]), "--out", str(out)]
    assert main([*command, "tiktok"]) == 1
    assert "--all packs the others too" in capsys.readouterr().err
    assert not out.exists()
    assert main([*command, *(path.stem for path in shipped), "tiktok", "--all", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rules"]) == len(shipped) + 1
    assert main([*command, *(path.stem for path in shipped), "tiktok", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rules"]) == len(shipped)


def test_a_rule_with_a_mistake_keeps_the_old_pack(
    packed: Path, key: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All rules are linted first; the mistake is named with file and line, and nothing is written."""
    before = packed.read_bytes()
    bad = tmp_path / "platforms" / "netflix.yaml"
    bad.parent.mkdir()
    bad.write_text((sonde_rules.RULES / "netflix.yaml").read_text().replace("medium", "REPLACE_ME"))
    assert main(["rules", "pack", str(bad), "--key", str(key[0]), "--out", str(packed)]) == 1
    err = capsys.readouterr().err.splitlines()
    assert all("netflix.yaml:9: " in line for line in err[:-1])
    assert err[-1] == "sonde-collector: nothing was packed"
    assert packed.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        ("not a key", 0o600, "the signing key is no private key"),
        ("", 0o600, "the signing key is no private key"),
        (None, 0o644, "can be read by others"),
        (None, 0o640, "can be read by others"),
    ],
)
def test_a_key_that_is_none_or_lies_open_signs_nothing(
    content: str | None, mode: int, said: str, key: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is no key, and one that others can read, are one line and exit code 2."""
    path, out = key[0], key[0].with_name("p")
    if content is not None:
        path.write_text(content)
    path.chmod(mode)
    assert main(["rules", "pack", "netflix", "--key", str(path), "--out", str(out)]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()
