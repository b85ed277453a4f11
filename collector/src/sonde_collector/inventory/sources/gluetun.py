"""A list of servers as gluetun keeps it: servers.json, one section for each provider.

Source: gluetun's internal/models/servers.go and server.go.
"""

import json
from typing import Any

from sonde_collector.inventory.model.provider import Source
from sonde_collector.inventory.sources.entry import Entry, listed
from sonde_collector.inventory.way import Listed, Reading
from sonde_proto.toml_config import ConfigError


def read(provider: str, source: Source, text: str) -> Reading:
    """Give what a list says. **Pure**.

    Raises:
        ConfigError: it is no such list, or has no section of this provider.
    """
    section, servers = _section(provider, source, text)
    out: list[Listed] = []
    bad: list[str] = []
    for i, server in enumerate(servers):
        at = f"{source.path.name}: {section}.servers[{i}]"
        try:
            out.extend(listed(provider, source, at, _entry(server)))
        except ValueError as error:
            bad.append(f"{at}: {error}")
    return Reading(provider, source.account, str(source.path), tuple(out), tuple(bad))


def _section(provider: str, source: Source, text: str) -> tuple[str, list[Any]]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError([f"line {error.lineno}: is not JSON: {error.msg}"], source.path) from None
    except ValueError as error:  # a number of thousands of digits
        raise ConfigError([f"can't be read: {error}"], source.path) from None
    except RecursionError:
        raise ConfigError(["is nested too deeply"], source.path) from None
    if not isinstance(document, dict):
        raise ConfigError(["must be an object with a section for each provider"], source.path)
    sections = {name: one for name, one in document.items() if isinstance(one, dict) and "servers" in one}
    wanted = (source.section or provider).casefold()
    found = [name for name in sections if name.casefold() == wanted]
    if not found:
        known = ", ".join(sorted(sections)) or "none"
        raise ConfigError([f'has no section "{wanted}"; it has {known}: set section = "…"'], source.path)
    servers = sections[found[0]]["servers"]
    if not isinstance(servers, list):
        raise ConfigError([f"{found[0]}.servers must be a list"], source.path)
    return found[0], servers


def _entry(server: object) -> Entry:
    if not isinstance(server, dict):
        raise ValueError("must be an object")  # noqa: TRY004 -- what a list may hold wrong is one kind of error

    def text(name: str) -> str:
        value = server.get(name)
        return value if isinstance(value, str) else ""

    addresses = server.get("ips")
    return Entry(
        country=text("country"),
        city=text("city") or text("region"),
        hostname=text("hostname"),
        addresses=[str(one) for one in addresses] if isinstance(addresses, list) else (),
        public_key=text("wgpubkey"),
        protocols=_protocols(server),
    )


def _protocols(server: dict[str, Any]) -> list[str]:
    if server.get("vpn") == "wireguard":
        return ["WireGuard"]
    tcp, udp = server.get("tcp") is True, server.get("udp") is True
    return [name for name, has in (("OpenVPN-UDP", udp), ("OpenVPN-TCP", tcp)) if has]
