"""What is true of a lab: what was set, and what was recorded while it ran."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sonde_lab import faults, origins, records
from sonde_lab.material import SESSIONS
from sonde_lab.profiles import FOLDERS, SMART, file_name, smart_file_name
from sonde_lab.topology import (
    ORIGIN,
    ORIGIN_ADDRESSES,
    ORIGIN_CITY,
    ORIGIN_MBPS,
    SERVERS,
    SMART_CITY,
    SMART_ENTRY,
    SMART_OF,
    City,
    Server,
    Vantage,
    rtt_ms,
    vantages,
)
from sonde_lab.world import REQUESTS, UNMATCHED, expected
from sonde_lab.world import start as world

COUNTERS = "for name in {names}; do nsenter --net=/run/netns/$name nft -j list sets; done"
"""Shell: every server's counted echoes, then who called the platforms; a line of JSON each."""
_PROTOCOLS = {"wg": "WireGuard", "ovpn-udp": "OpenVPN-UDP", "ovpn-tcp": "OpenVPN-TCP", "ike": "IKEv2"}
_TCP_SHARE = {"WireGuard": (1420 - 52) / 1420, "IKEv2": (1400 - 52) / 1400}
_OPENVPN_SHARE = 1 - 52 / 1450  # its mssfix keeps inner packets near this
_DIRECT_SHARE = 1 - 52 / 1500


def of(
    folder: Path, codes: tuple[str, ...], counters: str, *, broken: bool, since_s: float
) -> dict[str, Any]:
    """Give everything, ready for JSON. All times in ms, rates in Mbit/s, addresses as text.

    Args:
        folder: the lab's.
        codes: of its vantages.
        counters: what `COUNTERS` printed.
        broken: whether the servers that misbehave are there.
        since_s: counts packets of the delay lines from this time on [s, UTC].
    """
    people = vantages(len(codes))
    *of_servers, of_origin = counters.splitlines()
    echoes = dict(zip((server.key for server in SERVERS), map(counted, of_servers), strict=True))
    return {
        "folder": str(folder),
        "vantages": [
            {"code": v.code, "city": v.city.name, "country": v.city.country, "ipv4": v.ipv4, "ipv6": v.ipv6}
            for v in people
        ],
        "origin": _origin() | _line(folder, ORIGIN, ORIGIN_CITY, people, since_s),
        "servers": [
            _server(server) | _line(folder, server.key, server.city, people, since_s) | echoes[server.key]
            for server in SERVERS
        ],
        "smart": _smart(),
        "platforms": world.known(folder)["hosts"],
        "unlock": expected.everywhere(world.known(folder), world.changes(folder), people),
        "callers": callers(of_origin),
        "faults": _faults() if broken else [],
        "credentials": _credentials(folder),
        "sessions": sessions(_read(folder / "servers" / "sessions").splitlines()),
        "ended": [
            line.partition(" ended with ")[0]
            for line in _read(folder / "logs" / "room.log").splitlines()
            if " ended with " in line
        ],
    }


def counted(text: str) -> dict[str, Any]:
    """Give one server's echo requests: source → how many were seen, how many of them lost. **Pure.**

    Args:
        text: `nft -j list sets`.
    """
    found: dict[str, dict[str, dict[str, int]]] = {"direct": {}, "inner": {}}
    for one in json.loads(text)["nftables"]:
        if "set" not in one:
            continue
        where, _, what = one["set"]["name"].rstrip("6").partition("_")
        for element in one["set"].get("elem", ()):
            source = found[where].setdefault(element["elem"]["val"], {"seen": 0, "lost": 0})
            source[what] = element["elem"]["counter"]["packets"]
    return {"echoes": found}


def callers(text: str) -> dict[str, int]:
    """Give how many packets each address sent to the platforms. **Pure.**

    Args:
        text: `nft -j list sets`, of the origin.
    """
    return {
        element["elem"]["val"]: element["elem"]["counter"]["packets"]
        for one in json.loads(text)["nftables"]
        for element in one.get("set", {}).get("elem", ())
    }


def _smart() -> dict[str, Any]:
    """Give the way of those who have smart DNS."""
    (server,) = (one for one in SERVERS if one.key == SMART_OF)
    return {
        "key": expected.SMART,
        "server": server.key,
        "protocol": server.protocol,
        "host": SMART_ENTRY[0],
        "port": server.port,
        "country": server.city.country,
        "proxy_country": SMART_CITY.country,
        "exit_address": server.exit[0],
        "exit_address6": server.exit[1],
        "resolver": ORIGIN_ADDRESSES["smart-dns"][0],
        "proxy": list(ORIGIN_ADDRESSES["smart-proxy"]),
        "profile": f"profiles/{SMART}/{smart_file_name(server)}",
        "credential": SMART,
    }


def sessions(lines: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Give what the provider saw of each user: open now, most at once, logins, and by server. **Pure.**

    Args:
        lines: "SECONDS SERVER connect|disconnect USER".
    """
    users: dict[str, dict[str, Any]] = {}
    for line in lines:
        _, server, what, name = line.split(" ", 3)
        user = users.setdefault(name, {"now": 0, "most": 0, "logins": 0, "by_server": defaultdict(int)})
        if what == "connect":
            user["now"] += 1
            user["logins"] += 1
            user["by_server"][server] += 1
            user["most"] = max(user["most"], user["now"])
        else:
            user["now"] -= 1
    return users


def _server(server: Server) -> dict[str, Any]:
    share = _TCP_SHARE.get(server.protocol, _OPENVPN_SHARE)
    return {
        "key": server.key,
        "country": server.city.country,
        "city": server.city.name,
        "protocol": server.protocol,
        "host": server.entry[0],
        "host6": server.entry[1],
        "port": server.port,
        "exit_address": server.exit[0],
        "exit_address6": server.exit[1],
        "gateway": f"{server.inside}.1",
        "gateway6": f"{server.inside6}1",
        "loss_pct": server.loss_pct,
        "rate_mbps": server.rate_mbps,
        "payload_mbps": round(server.rate_mbps * share, 2),
        "profile": f"profiles/{FOLDERS[server.protocol]}/{file_name(server)}",
        "profile6": f"profiles/{FOLDERS[server.protocol]}6/{file_name(server)}",
        "credential": FOLDERS[server.protocol],
    }


def _origin() -> dict[str, Any]:
    v4, v6 = ORIGIN_ADDRESSES["origin"]
    return {
        "rate_mbps": ORIGIN_MBPS,
        "payload_mbps": round(ORIGIN_MBPS * _DIRECT_SHARE, 2),
        "addresses": {name: list(pair) for name, pair in ORIGIN_ADDRESSES.items()},
        "ip_url": f"http://{v4}/ip",
        "ip_url6": f"http://[{v6}]/ip",
        "bytes_url": f"http://{v4}/bytes",
        "bytes_size": origins.BYTES,
        "upload_url": f"http://{v4}/upload",
        "iperf3_ports": list(origins.IPERF3_PORTS),
        "ca": "origin/tls/ca.pem",
        "queries": "logs/dnsmasq.log",
        "world": {
            "ca": "world/ca.pem",
            "requests": f"logs/{REQUESTS}",
            "unmatched": f"logs/{UNMATCHED}",
            "trusted_resolver": ORIGIN_ADDRESSES["resolver"][0],
            "trusted_resolver_name": "resolver.example",
        },
    }


def _line(folder: Path, key: str, city: City, people: tuple[Vantage, ...], since_s: float) -> dict[str, Any]:
    """What is set for a line, and what it did."""
    file = folder / "lines" / f"{key}.record"
    delays: dict[tuple[int, bool], list[float]] = defaultdict(list)
    for record in records.read(file, since_s):
        delays[record.path, record.down].append(record.delay_ms)
    for held in delays.values():
        held.sort()
    totals = records.totals(file)
    return {
        "rtt_ms": {v.code: rtt_ms(v.city, city) for v in people},
        "line": {
            v.code: {
                way: _direction(delays[index, down], totals[index, down])
                for way, down in (("up", False), ("down", True))
            }
            for index, v in enumerate(people)
        },
    }


def _direction(held: list[float], total: records.Total) -> dict[str, Any]:
    return {
        "packets": len(held),
        "p50_ms": records.quantile(held, 0.5),
        "p99_ms": records.quantile(held, 0.99),
        "passed": total.passed,
        "bytes": total.size,
        "dropped": total.dropped,
    }


def _faults() -> list[dict[str, Any]]:
    found = []
    for host in faults.HOSTS.values():
        ports = zip(_PROTOCOLS, (host.wireguard, host.openvpn_udp, host.openvpn_tcp, host.ike), strict=True)
        for short, port in ports:
            if port:
                suffix = {"wg": "conf", "ike": "sswan"}.get(short, "ovpn")
                found.append(
                    {
                        "fault": host.fault,
                        "what": host.what,
                        "protocol": _PROTOCOLS[short],
                        "host": host.ipv4,
                        "host6": host.ipv6,
                        "port": port,
                        "profile": f"profiles/faults/{short}-{host.fault}.{suffix}",
                    }
                )
    return found


def _credentials(folder: Path) -> dict[str, dict[str, Any]]:
    accounts = sorted(file.stem for file in (folder / "secrets").glob("*.username"))
    return {
        account: {
            "username_file": f"secrets/{account}.username",
            "password_file": f"secrets/{account}.password",
            "sessions": SESSIONS,
        }
        for account in accounts
    }


def _read(file: Path) -> str:
    return file.read_text(errors="replace") if file.exists() else ""


def table(truth: Mapping[str, Any]) -> str:
    """Give the truth for human eyes: a line for each server. **Pure.**

    Args:
        truth: what `of` gave.
    """
    codes = [vantage["code"] for vantage in truth["vantages"]]
    heads = [
        "server",
        "country",
        "protocol",
        "address",
        *(f"{code} ms" for code in codes),
        "loss %",
        "Mbit/s",
        "exit",
    ]
    rows = [
        [
            server["key"],
            server["country"],
            server["protocol"],
            f"{server['host']}:{server['port']}",
            *(f"{server['rtt_ms'][code]:.1f}" for code in codes),
            f"{server['loss_pct']:.1f}",
            str(server["rate_mbps"]),
            server["exit_address"],
        ]
        for server in truth["servers"]
    ]
    widths = [max(len(row[at]) for row in (heads, *rows)) for at in range(len(heads))]
    lines = [
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip()
        for row in (heads, *rows)
    ]
    for name, user in truth["sessions"].items():
        lines.append(
            f"account {name}: {user['now']} sessions now, at most {user['most']} at once, "
            f"{user['logins']} logins"
        )
    return "\n".join(lines)
