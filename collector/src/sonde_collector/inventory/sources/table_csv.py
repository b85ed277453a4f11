"""A CSV table of servers: its header names the columns."""

import csv
import io

from sonde_collector.inventory.model.provider import Source
from sonde_collector.inventory.sources.entry import Entry, listed
from sonde_collector.inventory.way import Listed, Reading
from sonde_proto.toml_config import ConfigError

# Column → how else tables call it.
_COLUMNS = {
    "country": ("country_code",),
    "city": (),
    "hostname": ("host", "domain"),
    "ip_address": ("ip", "address", "ips", "ipv4"),
    "port": (),
    "protocol": ("protocols", "vpn"),
    "public_key": ("wgpubkey", "publickey", "wireguard_public_key"),
    "server_name": (),
    "name": ("key", "server"),
}
_AT_MOST = 1_000_000  # lines: a list of servers has thousands


def read(provider: str, source: Source, text: str) -> Reading:
    """Give what a table says. Columns that mean nothing here are passed over. **Pure**.

    Raises:
        ConfigError: it is no such table.
    """
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    file = source.path.name
    out: list[Listed] = []
    bad: list[str] = []
    try:
        columns = _columns(next(rows, []), source)
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if rows.line_num > _AT_MOST:
                bad.append(f"{file}: has more than {_AT_MOST} lines; the rest is left out")
                break
            at = f"{file}:{rows.line_num}"
            try:
                out.extend(listed(provider, source, at, _entry(row, columns, source)))
            except ValueError as error:
                bad.append(f"{at}: {error}")
    except csv.Error as error:
        raise ConfigError([f"line {rows.line_num}: {error}"], source.path) from None
    return Reading(provider, source.account, str(source.path), tuple(out), tuple(bad))


def _delimiter(text: str) -> str:
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)


def _columns(header: list[str], source: Source) -> dict[str, int]:
    """Give where each column stands.

    Raises:
        ConfigError: one is missing.
    """
    named = {cell.strip().casefold().replace(" ", "_"): i for i, cell in enumerate(header)}
    found = {
        name: named[word]
        for name, others in _COLUMNS.items()
        for word in (name, *others)[::-1]
        if word in named
    }
    mistakes = []
    if not found.keys() & {"hostname", "ip_address"}:
        mistakes.append('line 1: names no column "hostname" or "ip_address"')
    mistakes += [
        f'line 1: names no column "{name}", and the source sets no {name}'
        for name in ("country", "city")
        if name not in found and getattr(source, name) is None
    ]
    if mistakes:
        raise ConfigError(mistakes, source.path)
    return found


def _entry(row: list[str], columns: dict[str, int], source: Source) -> Entry:
    def cell(name: str) -> str:
        at = columns.get(name, len(row))
        return row[at].strip() if at < len(row) else ""

    def several(name: str) -> list[str]:
        return cell(name).replace(";", " ").replace("|", " ").replace(",", " ").split()

    return Entry(
        country=cell("country"),
        city=cell("city"),
        hostname=cell("hostname"),
        addresses=several("ip_address"),
        port=cell("port"),
        public_key=cell("public_key"),
        server_name=cell("server_name"),
        name=cell("name"),
        protocols=several("protocol") or source.protocols or (),
    )
