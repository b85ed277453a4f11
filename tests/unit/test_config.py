"""agent.toml."""

import ipaddress
from pathlib import Path

import pytest

from sonde_agent import config
from sonde_proto.toml_config import ConfigError

GOLDEN = Path(__file__).parents[1] / "golden" / "config"
TEMPLATE = Path(config.__file__).with_name("agent.template.toml")


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("agent-invalid-*.toml")), ids=lambda path: path.stem)
def test_a_bad_file_is_told_all_its_mistakes_at_once(path: Path) -> None:
    """Each rejected file of the collection gives exactly its lines, one for each mistake."""
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert caught.value.messages == path.with_suffix(".txt").read_text().splitlines()


def test_the_template_is_a_working_configuration(tmp_path: Path) -> None:
    """What `run --template` prints loads, and its commented keys, taken as they stand, are the defaults."""
    text = TEMPLATE.read_text()
    plain = tmp_path / "agent.toml"
    plain.write_text(f'state_dir = "state"\n{text}')
    settings = config.load(plain)
    commented = [
        line.removeprefix("# ")
        for line in text.splitlines()
        if line.startswith(("# max_", "# history", "# concurrency", "# checks", "# metrics"))
    ]
    assert len(commented) == 6
    for line in commented:
        key = line.split(" = ")[0]
        spelled_out = tmp_path / "spelled.toml"
        spelled_out.write_text(f'state_dir = "state"\n{text.replace(f"# {key} =", f"{key} =")}')
        assert config.load(spelled_out) == settings, key


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """The service manager's working directory does not matter."""
    path = tmp_path / "agent.toml"
    path.write_text('collector = "unix:/run/sonde.sock"\nvantage = "v"\nstate_dir = "state"\n')
    settings = config.load(path)
    assert settings.state_dir == tmp_path / "state"
    assert config.spool_path(settings) == tmp_path / "state" / "spool.sqlite"
    assert settings.metrics == "127.0.0.1:7481"


@pytest.mark.parametrize("collector", ["127.0.0.1:1", "127.8.9.1:7443", "[::1]:7443", "localhost:7443"])
def test_plain_text_is_for_loopback(tmp_path: Path, collector: str) -> None:
    """Every address that can't leave this machine may do without TLS."""
    path = tmp_path / "agent.toml"
    path.write_text(
        f'collector = "{collector}"\nvantage = "v"\nstate_dir = "state"\n[policy]\nallow = ["::1"]\n'
    )
    settings = config.load(path)
    assert settings.policy.allow == (ipaddress.ip_network("::1"),)


@pytest.mark.parametrize(
    "collector", ["10.0.0.1:7443", "[2001:db8::1]:7443", "c.example:7443", "localhost.example:1"]
)
def test_another_address_needs_tls(tmp_path: Path, collector: str) -> None:
    """Without [tls] it is refused in one line; with it, it is accepted."""
    path = tmp_path / "agent.toml"
    head = f'collector = "{collector}"\nvantage = "v"\nstate_dir = "state"\n'
    path.write_text(head)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert len(caught.value.messages) == 1
    assert "add a [tls] table" in caught.value.messages[0]
    (tmp_path / "x.pem").write_text("x")
    path.write_text(f'{head}[tls]\nca = "x.pem"\ncert = "x.pem"\nkey = "x.pem"\n')
    assert config.load(path).tls is not None


def test_the_file_is_found_in_the_order_that_help_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--config, then the variable, then the working directory; else one line that names them all."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config, "CONFIG_PLACES", (Path("agent.toml"), tmp_path / "etc.toml"))
    assert config.find(Path("given"), {"SONDE_AGENT_CONFIG": "variable"}) == Path("given")
    assert config.find(None, {"SONDE_AGENT_CONFIG": "variable"}) == Path("variable")
    with pytest.raises(
        ConfigError, match=r"give --config FILE, set \$SONDE_AGENT_CONFIG, or make agent\.toml or"
    ):
        config.find(None, {})
    (tmp_path / "etc.toml").touch()
    assert config.find(None, {}) == tmp_path / "etc.toml"
    (tmp_path / "agent.toml").touch()
    assert config.find(None, {}) == Path("agent.toml")
