"""What `pki init --write` makes of collector.toml."""

import tomllib
from importlib import resources
from pathlib import Path

import pytest

from sonde_collector.pki.authority import PkiError
from sonde_collector.pki.folder import Folder
from sonde_collector.pki.settings import as_text, settings, written_into

FOLDER = Folder(Path("/pki"))
PATH = Path("collector.toml")
TEMPLATE = resources.files("sonde_collector").joinpath("collector.template.toml").read_text()


@pytest.mark.parametrize("text", ["", TEMPLATE, "# mine\n[http]\nlisten = '127.0.0.1:1'\n[grpc]\n[enroll]"])
def test_they_come_into_any_file(text: str) -> None:
    """Into the template, an empty file, one of somebody's own; all else stays; again changes nothing."""
    written = written_into(text, FOLDER, PATH)
    before, after = tomllib.loads(text), tomllib.loads(written)
    for table, values in settings(FOLDER).items():
        assert after[table] == before.get(table, {}) | values
    assert {key: value for key, value in after.items() if key not in settings(FOLDER)} == {
        key: value for key, value in before.items() if key not in settings(FOLDER)
    }
    assert written_into(written, FOLDER, PATH) == written
    assert tomllib.loads(as_text(FOLDER)) == settings(FOLDER)


def test_addresses_that_somebody_has_set_stay() -> None:
    """Only the defaults, which this host alone reaches, are opened."""
    written = tomllib.loads(written_into('[grpc]\nlisten = ["192.0.2.1:9000"]', FOLDER, PATH))
    assert written["grpc"]["listen"] == ["192.0.2.1:9000"]
    assert written["enroll"]["listen"] == "0.0.0.0:7444"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[grpc]\ntls_cert = "/mine.pem"', 'grpc.tls_cert is "/mine.pem" and not "/pki/collector.pem"'),
        ('grpc.listen = ["127.0.0.1:7443"]', "by hand"),
        ("[grpc", "by hand"),
    ],
)
def test_what_is_there_is_never_overwritten(text: str, why: str) -> None:
    """Other files, or a form that can't be changed: one message that says what to do."""
    with pytest.raises(PkiError, match=why):
        written_into(text, FOLDER, PATH)
