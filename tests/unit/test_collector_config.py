"""collector.toml and fleet.toml: every mistake at once, each with its path and what to do."""

from pathlib import Path

import pytest

from sonde_collector.cli import main
from sonde_collector.config import CollectorConfig, find_config, load_config
from sonde_collector.config_rules import is_local
from sonde_collector.inventory.fleet_file import Fleet, load_fleet
from sonde_proto.toml_config import ConfigError

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/config"
LOADERS = {"collector": load_config, "fleet": load_fleet}
CASES = sorted(path for kind in LOADERS for path in GOLDEN.glob(f"{kind}-invalid-*.toml"))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_every_mistake_is_told_at_once(case: Path) -> None:
    """An invalid file gives exactly the messages beside it."""
    load = LOADERS[case.name.partition("-")[0]]
    with pytest.raises(ConfigError) as caught:
        load(case)
    assert "\n".join(caught.value.messages) + "\n" == case.with_suffix(".txt").read_text()


def test_the_templates_are_valid() -> None:
    """Both commented templates can be used as they are."""
    config = load_config(ROOT / "collector/src/sonde_collector/collector.template.toml")
    assert config.database.url == "embedded:"
    assert load_fleet(ROOT / "collector/fleet.template.toml") != Fleet()


def test_check_config_tells_mistakes_and_serves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 and one line where there are none; 2 and each mistake where there are."""
    file = tmp_path / "collector.toml"
    file.write_text('state_dir = "state"\n[database]\nurl = "embedded:"\n')
    assert main(["--config", str(file), "serve", "--check-config"]) == 0
    assert capsys.readouterr().out == f"{file}: no mistake\n"
    file.write_text('state_dir = "state"\n[database]\nurl = "embedded:"\n[ingest]\nwriters = 0\n')
    assert main(["--config", str(file), "serve", "--check-config"]) == 2
    assert "ingest.writers" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("listen", "local"),
    [
        ("127.0.0.1:1", True),
        ("127.9.9.9:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/run/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("192.0.2.1:1", False),
        ("collector.example:1", False),
    ],
)
def test_plain_text_is_for_this_host_only(listen: str, *, local: bool, tmp_path: Path) -> None:
    """An address that others can reach is refused without TLS, with what to set."""
    assert is_local(listen) is local
    file = tmp_path / "collector.toml"
    file.write_text(f'state_dir = "s"\n[database]\nurl = "embedded:"\n[grpc]\nlisten = ["{listen}"]\n')
    if local:
        assert load_config(file).grpc.listen == (listen,)
    else:
        with pytest.raises(ConfigError, match="set tls_cert, tls_key and client_ca, or listen on 127"):
            load_config(file)


@pytest.mark.parametrize(
    ("http", "said"),
    [
        ('listen = "127.0.0.1:1"', ""),
        ('listen = "[::1]:1"', ""),
        ('listen = "0.0.0.0:1"', "set tls_cert and tls_key, or listen on 127.0.0.1"),
        ('listen = "unix:/run/x"', 'must be "ADDRESS:PORT"'),
        ('listen = "0.0.0.0:1"\ntls_cert = "pem"\ntls_key = "pem"', ""),
        ('listen = "0.0.0.0:1"\ntls_cert = "pem"', "http.tls_key: is required"),
        ('tls_key = "pem"', "http.tls_cert: is required"),
        ('tls_cert = "none"\ntls_key = "pem"', "http.tls_cert: must be a file that can be read"),
    ],
)
def test_readers_of_other_hosts_come_by_https(http: str, said: str, tmp_path: Path) -> None:
    """HTTP in plain text is for this host; with certificate and key any address may be listened on."""
    (tmp_path / "pem").touch()
    file = tmp_path / "collector.toml"
    file.write_text(f'state_dir = "s"\n[database]\nurl = "embedded:"\n[http]\n{http}\n')
    if not said:
        load_config(file)
        return
    with pytest.raises(ConfigError) as caught:
        load_config(file)
    (message,) = caught.value.messages
    assert said in message


def test_relative_paths_begin_at_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command run elsewhere finds the same state."""
    (tmp_path / "collector.toml").write_text('state_dir = "state"\n[database]\nurl = "embedded:"\n')
    monkeypatch.chdir("/")
    config: CollectorConfig = load_config(tmp_path / "collector.toml")
    assert config.state_dir == tmp_path / "state"


def test_the_config_is_found_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config, then the environment, then ./collector.toml; else one message names them all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SONDE_COLLECTOR_CONFIG", raising=False)
    with pytest.raises(ConfigError, match=r"--config FILE or set SONDE_COLLECTOR_CONFIG"):
        find_config(None)
    (tmp_path / "collector.toml").touch()
    assert find_config(None) == Path("collector.toml")
    monkeypatch.setenv("SONDE_COLLECTOR_CONFIG", "/x")
    assert find_config(None) == Path("/x")
    assert find_config(Path("/y")) == Path("/y")
