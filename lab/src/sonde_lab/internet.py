"""Builds the lab's internet inside its room: namespaces, links, delay lines, servers, what is behind them."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sonde_lab import faults, lines, origins, profiles, resolver, wiring
from sonde_lab.material import BUSY, Material
from sonde_lab.programs import LabError, Programs, begin, finish, in_netns
from sonde_lab.topology import (
    CORE,
    FAULTS,
    FAULTS_CITY,
    FAULTS_MBPS,
    ORIGIN,
    ORIGIN_ADDRESSES,
    ORIGIN_CITY,
    ORIGIN_MBPS,
    SERVERS,
    Server,
    Vantage,
    entries,
    rtt_ms,
    vantages,
)
from sonde_lab.vpn_servers import ikev2, openvpn, wireguard
from sonde_lab.world import start as world

_SYSCTLS = {
    "net/ipv4/ip_forward": 1,
    "net/ipv6/conf/all/forwarding": 1,
    "net/ipv4/conf/all/rp_filter": 0,
    "net/ipv4/conf/default/rp_filter": 0,
    "net/ipv6/conf/default/accept_dad": 0,
    "net/ipv6/conf/default/accept_ra": 0,
    "net/ipv4/icmp_ratelimit": 0,  # a refused port is always told
    "net/ipv4/tcp_no_metrics_save": 1,  # a transfer learns nothing from the one before
}
_PING = "echo 0 2147483647 >/proc/sys/net/ipv4/ping_group_range 2>/dev/null || "
_PING += "echo 0 0 >/proc/sys/net/ipv4/ping_group_range\n"  # all that a user namespace of one group can say
_SERVERS = Path("/run/lab/servers")
"""The servers' own files by a name that is short wherever the lab's folder is."""
_ORIGIN = [address for pair in ORIGIN_ADDRESSES.values() for address in pair]


def build(folder: Path, count: int, *, broken: bool, programs: Programs) -> None:
    """Bring everything up.

    Args:
        folder: the lab's, absolute.
        count: of vantages.
        broken: whether what misbehaves is there too.
        programs: takes what is started.

    Raises:
        LabError: something does not come up; names what and why.
    """
    people = vantages(count)
    _network(folder, people, broken=broken, programs=programs)
    material = Material.new(people)
    profiles.write(folder, material)
    world.start(folder, count, programs)
    ready = _start_vpn_servers(folder / "servers", material, broken=broken, programs=programs)
    origins.start(folder, programs)
    known = world.wait(folder, programs)
    resolver.start(folder, known["hosts"], known["v4_only"], programs)
    if broken:
        _start_faults(material, programs)
    for wait in ready:
        wait()
    _everywhere({server.key: _finishing(server) for server in SERVERS})


def _start_vpn_servers(
    folder: Path, material: Material, *, broken: bool, programs: Programs
) -> list[Callable[[], None]]:
    """Start all of them, side by side; give what returns when one is ready, for each."""
    folder.mkdir()
    # OpenVPN takes no line of more than 256 characters, and a socket's path ends at 107.
    _SERVERS.symlink_to(folder)
    folder = _SERVERS
    books = openvpn.Books(folder / "users", folder / "sessions")
    books.users.touch(mode=0o600)
    books.users.write_text("".join(f"{name} {password}\n" for name, password in material.users.items()))
    ready: list[Callable[[], None]] = []
    for server in SERVERS:
        if server.protocol == "IKEv2":
            gateway = _gateway(server, material)
            ikev2.start(gateway, folder, books, programs)
            ready.append(partial(ikev2.wait, gateway, programs))
    hooks = openvpn.hooks(folder, books)
    endpoints = [_endpoint(server, material) for server in SERVERS if server.protocol.startswith("OpenVPN")]
    endpoints += [_expired(material)] if broken else []
    for endpoint in endpoints:
        openvpn.start(endpoint, folder, hooks, programs)
        ready.append(partial(openvpn.wait, endpoint, programs))
    for server in SERVERS:
        if server.protocol == "WireGuard":
            wireguard.start(_interface(server, material), programs)
    return ready


def _network(folder: Path, people: tuple[Vantage, ...], *, broken: bool, programs: Programs) -> None:
    """Namespaces, links, lines, routes and packet rules."""
    names = [CORE, ORIGIN, *([FAULTS] if broken else []), *(server.key for server in SERVERS)]
    _ip("".join(f"netns add {name}\n" for name in (*names, *(vantage.code for vantage in people))))
    _everywhere({name: _sysctls() for name in names} | {v.code: _sysctls() + _PING for v in people})
    in_netns(CORE, _batch(wiring.pairs(people, (server.key for server in SERVERS))))
    lines.start(folder / "lines", _lines(people, broken=broken), programs)
    scripts = {
        CORE: _core(people, broken=broken),
        ORIGIN: _batch(wiring.place(_ORIGIN) + wiring.ways_in(SERVERS))
        + _shaped("line", ORIGIN_MBPS)
        + _rules(wiring.origin_rules()),
    }
    scripts |= {vantage.code: _batch(wiring.vantage_host(vantage)) for vantage in people}
    scripts |= {server.key: _server(server) for server in SERVERS}
    if broken:
        scripts[FAULTS] = (
            _batch(wiring.place(faults.addresses()) + faults.routes())
            + _shaped("line", FAULTS_MBPS)
            + _rules(faults.rules())
        )
    _everywhere(scripts)


def _lines(people: tuple[Vantage, ...], *, broken: bool) -> list[lines.Line]:
    """Every delay line: what is at its end, and the delay from each vantage."""
    ends = [(ORIGIN, ORIGIN_CITY), *((server.key, server.city) for server in SERVERS)]
    ends += [(FAULTS, FAULTS_CITY)] if broken else []
    return [
        lines.Line(key, tuple(lines.Way(v.ipv4, v.ipv6, rtt_ms(v.city, city)) for v in people))
        for key, city in ends
    ]


def _core(people: tuple[Vantage, ...], *, broken: bool) -> str:
    places = [(ORIGIN, _ORIGIN), *((server.key, entries(server)) for server in SERVERS)]
    places += [(FAULTS, faults.addresses())] if broken else []
    shaped = _shaped(f"dl-{ORIGIN}", ORIGIN_MBPS) + (_shaped(f"dl-{FAULTS}", FAULTS_MBPS) if broken else "")
    return _batch(wiring.core(people, places)) + shaped


def _server(server: Server) -> str:
    return (
        _batch(wiring.place(entries(server)) + wiring.way_out(server))
        + _shaped("out", server.rate_mbps)
        + _rules(wiring.server_rules(server, _tunnel(server)))
    )


def _finishing(server: Server) -> str:
    """The script for when a server's tunnel device is there: its rate, and an address where it lacks one."""
    here = f"ip addr add {server.inside}.1/32 dev lo\nip addr add {server.inside6}1/128 dev lo\n"
    return _shaped(_tunnel(server), server.rate_mbps) + (here if server.protocol == "IKEv2" else "")


def _tunnel(server: Server) -> str:
    """The device that a server's decrypted packets come from."""
    return {"WireGuard": server.key, "IKEv2": ikev2.DEVICE}.get(server.protocol, openvpn.DEVICE)


def _interface(server: Server, material: Material) -> wireguard.Interface:
    inside, inside6 = server.inside, server.inside6
    return wireguard.Interface(
        server.key,
        server.key,
        server.port,
        material.servers[server.key],
        (f"{inside}.1/24", f"{inside6}1/64"),
        material.peers(inside, inside6),
    )


def _endpoint(server: Server, material: Material) -> openvpn.Endpoint:
    certificate, key = material.authority.issue([profiles.IDENTITY])
    return openvpn.Endpoint(
        server.key,
        server.key,
        server.protocol.removeprefix("OpenVPN-").lower(),
        server.port,
        server.inside,
        server.inside6,
        material.authority.pem,
        certificate,
        key,
        material.tls_crypt,
    )


def _gateway(server: Server, material: Material) -> ikev2.Gateway:
    certificate, key = material.authority.issue([profiles.IDENTITY])
    inside = server.inside, server.inside6
    return ikev2.Gateway(server.key, server.key, profiles.IDENTITY, *inside, certificate, key, material.users)


def _expired(material: Material) -> openvpn.Endpoint:
    certificate, key = material.authority.issue([profiles.IDENTITY], expired=True)
    return openvpn.Endpoint(
        faults.EXPIRED,
        FAULTS,
        "udp",
        faults.HOSTS["expired-cert"].openvpn_udp,
        *faults.EXPIRED_INSIDE,
        material.authority.pem,
        certificate,
        key,
        material.tls_crypt,
    )


def _start_faults(material: Material, programs: Programs) -> None:
    for fault, device in faults.WIREGUARD.items():
        inside, inside6 = faults.inside(fault)
        peers = [] if fault == "unknown-key" else material.peers(inside, inside6)
        addresses = (f"{inside}.1/24", f"{inside6}1/64")
        keys, port = material.servers[fault], faults.HOSTS[fault].wireguard
        wireguard.start(wireguard.Interface(device, FAULTS, port, keys, addresses, peers), programs)
    command = [sys.executable, "-m", "sonde_lab.misbehaving", material.servers[BUSY].public]
    programs.start("misbehaving", FAULTS, command)
    programs.wait(lambda: "ready" in programs.said("misbehaving"), name="misbehaving")


def _sysctls() -> str:
    return "".join(f"echo {value} >/proc/sys/{name}\n" for name, value in _SYSCTLS.items())


def _batch(commands: str) -> str:
    return f"ip -batch - <<'END'\n{commands}END\n"


def _rules(text: str) -> str:
    return f"nft -f - <<'END'\n{text}END\n"


def _shaped(device: str, mbps: int) -> str:
    return f"tc {wiring.rate(device, mbps)}\n"


def _everywhere(scripts: dict[str, str]) -> None:
    """Run each namespace's script, all at once."""
    running = {name: begin(name, script) for name, script in scripts.items()}
    for name, process in running.items():
        finish(process, name)


def _ip(batch: str) -> None:
    done = subprocess.run(["ip", "-batch", "-"], input=batch, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"can't make network namespaces: {done.stderr.strip()}")
