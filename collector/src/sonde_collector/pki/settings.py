"""What collector.toml says for agents to enrol and connect: `pki show` shows it, `init --write` writes it."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from sonde_collector.pki.authority import PkiError
from sonde_collector.pki.folder import Folder
from sonde_proto.toml_edit import Value, with_values

_LOCAL: Mapping[str, Value] = {"grpc": ["127.0.0.1:7443"], "enroll": "127.0.0.1:7444"}
"""The defaults: reached by this host alone."""


def settings(folder: Folder) -> dict[str, dict[str, Value]]:
    """Give the tables and keys. **Pure**."""
    return {
        "grpc": {
            "listen": ["0.0.0.0:7443"],
            "tls_cert": str(folder.cert),
            "tls_key": str(folder.key),
            "client_ca": str(folder.ca_cert),
        },
        "enroll": {
            "listen": "0.0.0.0:7444",
            "ca_cert": str(folder.ca_cert),
            "ca_key": str(folder.ca_key),
        },
    }


def as_text(folder: Folder) -> str:
    """Give the same as lines of collector.toml. **Pure**."""
    text = ""
    for table, values in settings(folder).items():
        text = with_values(text, table, values)
    return text


def written_into(text: str, folder: Folder, path: Path) -> str:
    """Give collector.toml with these settings in it; addresses that somebody has set stay. **Pure**.

    Args:
        text: of collector.toml.
        folder: whose files it shall name.
        path: of the file, for messages.

    Raises:
        PkiError: it names other files, or can't be changed.
    """
    try:
        document = tomllib.loads(text)
        for table, values in settings(folder).items():
            there = document.get(table, {})
            for key, value in values.items():
                if key != "listen" and there.get(key, value) != value:
                    raise PkiError(
                        f'{path}: {table}.{key} is "{there[key]}" and not "{value}": nothing was written'
                    )
            set_here = there.get("listen", _LOCAL[table]) != _LOCAL[table]
            wanted = {key: value for key, value in values.items() if key != "listen" or not set_here}
            text = with_values(text, table, wanted)
    except ValueError as error:
        raise PkiError(f"{path}: {error}; put the lines of `sonde-collector pki show` in by hand") from None
    return text
