"""All sources of a fleet file, read anew."""

from collections.abc import Callable
from pathlib import Path

from sonde_collector.inventory.fleet_file import Fleet
from sonde_collector.inventory.model import Source
from sonde_collector.inventory.sources import folder, gluetun, table_csv
from sonde_collector.inventory.sources.plain_file import first_bytes
from sonde_collector.inventory.way import Reading
from sonde_proto.toml_config import ConfigError

_LARGEST = 64 << 20  # bytes of a list; gluetun's of all providers has ten million
Progress = Callable[[str, int, int], None]


def _silent(_name: str, _done: int, _total: int) -> None:
    pass


def read_sources(fleet: Fleet, progress: Progress = _silent) -> list[Reading]:
    """Read every source.

    Args:
        fleet: whose sources.
        progress: told (path, files done, files in all) now and then.

    Raises:
        ConfigError: a source can't be read at all. What is wrong in single files stands in the reading.
    """
    readings: list[Reading] = []
    mistakes: list[str] = []
    for i, provider in enumerate(fleet.provider):
        for j, source in enumerate(provider.source):
            try:
                readings.append(_read(provider.key, source, progress))
            except ConfigError as error:
                mistakes += str(error).splitlines()
            except OSError as error:
                what = error.strerror or str(error)
                mistakes.append(f"provider[{i}].source[{j}].path: {source.path}: {what}")
    if mistakes:
        raise ConfigError(mistakes)
    return readings


def _read(provider: str, source: Source, progress: Progress) -> Reading:
    if not source.is_list:
        return folder.read(provider, source, lambda done, total: progress(str(source.path), done, total))
    text = _text(source.path)
    read = table_csv.read if source.path.suffix.lower() == ".csv" else gluetun.read
    return read(provider, source, text)


def _text(path: Path) -> str:
    data = first_bytes(path, _LARGEST)
    if len(data) > _LARGEST:
        raise ConfigError([f"has more than {_LARGEST} bytes"], path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"line {line}: is not UTF-8 text"], path) from None
