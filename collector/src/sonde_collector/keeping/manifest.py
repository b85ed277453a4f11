"""What a backup says of itself, and whether this program can restore it. **Pure.**"""

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any

import attrs

from sonde_collector.db.errors import BackupError

NAME = "manifest.json"
FORMAT = 1


@attrs.frozen
class File:
    """One file of a backup."""

    bytes: int
    sha256: str


@attrs.frozen
class Manifest:
    """What a backup holds.

    Attributes:
        made_at: the moment it holds.
        database_id: of the database; a restored one keeps it.
        database_bytes: what the database took on its disk, indexes and all.
        postgres: the server's version.
        program: version of sonde-collector.
        migrations: name -> SHA-256 of each that the database had seen.
        rows: table -> rows, counted in the snapshot that was dumped.
        files: name -> size and checksum of each file beside the manifest.
    """

    made_at: dt.datetime
    database_id: str
    database_bytes: int
    postgres: str
    program: str
    migrations: Mapping[str, str]
    rows: Mapping[str, int]
    files: Mapping[str, File]

    @property
    def bytes(self) -> int:
        """What the backup takes."""
        return sum(file.bytes for file in self.files.values())

    def to_json(self) -> str:
        """The manifest's text."""
        plain = {"format": FORMAT, **attrs.asdict(self), "made_at": self.made_at.isoformat()}
        return json.dumps(plain, indent=1, sort_keys=True) + "\n"


def read(text: str, place: str) -> Manifest:
    """The manifest that a text holds.

    Raises:
        BackupError: it is none, or of a newer format.
    """
    try:
        plain: dict[str, Any] = json.loads(text)
        found = plain.pop("format")
    except (ValueError, KeyError, AttributeError, TypeError):
        raise BackupError(f"{place}: no manifest of a backup, or a damaged one") from None
    if found != FORMAT:
        raise BackupError(
            f"{place}: format {found!r}; this program reads {FORMAT}: use a newer sonde-collector"
        )
    try:
        return Manifest(
            **{
                **plain,
                "made_at": dt.datetime.fromisoformat(plain["made_at"]),
                "files": {name: File(**file) for name, file in plain["files"].items()},
            }
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BackupError(f"{place}: a damaged manifest: {error}") from None


def unfit(manifest: Manifest, known: Mapping[str, str], major: int) -> str:
    """Why this program can't restore a backup; empty where it can.

    Args:
        manifest: of the backup.
        known: name -> SHA-256 of this program's migrations.
        major: of the PostgreSQL that it would be restored to.
    """
    of = manifest.postgres.partition(".")[0]
    if not of.isdigit() or int(of) > major:
        return (
            f"it was made by PostgreSQL {manifest.postgres} and would be restored to {major}: "
            "a dump goes to the same major version or a newer one; upgrade this program first"
        )
    if newer := sorted(set(manifest.migrations) - set(known)):
        return (
            f"its schema is newer than this program's ({', '.join(newer)}): restore it with "
            f"sonde-collector {manifest.program} or newer"
        )
    if changed := sorted(name for name, digest in manifest.migrations.items() if known[name] != digest):
        return (
            f"its schema was made by other texts than this program's ({', '.join(changed)}): restore it with "
            f"the sonde-collector that made it, {manifest.program}"
        )
    return ""


def differences(wanted: Mapping[str, int], found: Mapping[str, int]) -> list[str]:
    """Which tables do not hold the rows they should, in words."""
    return [
        f"{name} holds {found.get(name, 0)} rows and should hold {rows}"
        for name, rows in sorted(wanted.items())
        if found.get(name, 0) != rows
    ]
