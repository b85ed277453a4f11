"""Accounts end to end: what the lab's provider sees of twelve agents, and what they do when it refuses."""

import datetime as dt
import os
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.beside import Beside
from support.lab_fleet import Customer, LabFleet
from support.postgres import Server
from support.programs import eventually
from support.residue import descendants

from sonde_lab.lab import Lab, missing_programs

LACKS = missing_programs() + [name for name in ("tcpdump",) if not shutil.which(name)]
pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("accounts"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (network namespaces)"),
    pytest.mark.skipif(bool(LACKS), reason=f"needs the programs {' '.join(LACKS)}"),
]

TTL_S = 15.0
LINGER_S = 16
"""The lab's OpenVPN servers notice after 16 s that a client vanished, its IKEv2 server after 12 s."""
ASKED_AGAIN_S = 20.0
"""Who gave up keeps its place in line for 3 s more; the next slot asks then, on a busy host late."""
EVERY_S = 36
"""Of the plans whose runs want more sessions than there are."""
ACCOUNT = f'linger = "{LINGER_S}s"\nsessions = '
PLAN = """
[[plan]]
key = "{key}"
checks = ["connection", "ping"]
every = "{every}"
servers = {servers}
protocols = {protocols}
vantages = {vantages}
ping = {{ count = {count}, spacing = "{spacing}", wait = "1s" }}
connection = {{ handshake_timeout = "8s" }}
"""
THREE = '["ams", "nyc", "fra"]'
EXPIRED, GOOD, WIREGUARD = "lab-expired", "lab", "lab-wg"
HOSTS = ("192.0.2.11", "192.0.2.12", "192.0.2.15")
"""Where the expired account is tried; other credentials come there by other protocols."""


@pytest.fixture(scope="module")
def fleet(postgres_server: Server) -> Iterator[LabFleet]:
    """Twelve agents, and the lab's servers with a few more beside them."""
    folder = Path(tempfile.mkdtemp(prefix="sonde-fleet-"))
    try:
        with (
            Lab.up(folder / "lab", vantages=12, faults=False) as lab,
            Beside(folder / "beside", lab) as beside,
        ):
            users = lab.folder / "servers" / "users"
            names = {
                "wg-se": "se-sto-tcp-001.ovpn",
                "wg-jp": "jp-tok-tcp-001.ovpn",
                "ike-us": "us-chi-tcp-001.ovpn",
            }
            expired = [beside.start(key, name, users) for key, name in names.items()]
            good = [*(lab.profiles / "lab-ovpn").iterdir(), *(lab.profiles / "lab-ike").iterdir()]
            good.append(beside.start("ovpn-de-udp", "de-fra-tcp-001.ovpn"))
            customers = {
                GOOD: Customer({file.name: file for file in good}, "lab"),
                EXPIRED: Customer({file.name: file for file in expired}, "expired"),
                WIREGUARD: Customer({file.name: file for file in (lab.profiles / "lab-wg").iterdir()}),
            }
            with LabFleet(folder, lab, postgres_server, customers) as running:
                running.apply(dict.fromkeys(customers, ACCOUNT + "5"), "")
                running.start_agents(lab.vantages)
                yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def capture(fleet: LabFleet) -> Iterator[Path]:
    """What WireGuard clients send, as the network between vantages and servers sees it."""
    file = fleet.folder / "capture"
    command = [
        "tcpdump",
        "-i",
        "any",
        "-n",
        "-tt",
        "-l",
        "udp and src net 198.51.100.0/24 and dst port 51820",
    ]
    with file.open("wb") as out, (fleet.folder / "tcpdump.log").open("wb") as log:
        process = fleet.lab.popen("core", command, stdin=subprocess.DEVNULL, stdout=out, stderr=log)
    try:
        yield file
    finally:
        process.terminate()
        process.wait(10)


def plan(
    key: str,
    every: str,
    protocols: str,
    *,
    servers: str = '"*"',
    vantages: str = '"*"',
    count: int = 10,
    spacing: str = "200ms",
) -> str:
    """One table of the fleet file; lists are TOML."""
    return PLAN.format(**locals())


def real(every: str, **more: Any) -> str:
    """Plans over the three servers that know the account."""
    quiet = plan("udp-ike", every, '["OpenVPN-UDP", "IKEv2"]', **more)
    return quiet + plan("tcp", every, '["OpenVPN-TCP"]', servers='["lab-de-ber-*"]', **more)


def in_use(fleet: LabFleet, since: dt.datetime | None = None) -> list[dict[str, Any]]:
    """Leases of the account that count now."""
    return fleet.rows(
        "SELECT v.code, l.lease, l.free_at FROM sonde.leases l JOIN probe_locations v ON v.id = l.probe_id"
        " WHERE l.kind = 'credential' AND l.name = 'lab' AND l.free_at > clock_timestamp()"
        " AND l.granted_at > coalesce(%s::timestamptz, '-infinity')",
        since,
    )


def test_the_provider_never_sees_a_sixth_session(fleet: LabFleet) -> None:
    """Also when who holds one, and the collector, are killed; those sessions are used again in time."""
    fleet.apply({GOOD: ACCOUNT + "5"}, real(f"{EVERY_S}s"))
    eventually(lambda: len(in_use(fleet)) == 5 and fleet.sessions("lab")["now"] == 5, 60, fleet.story)
    dead = in_use(fleet)
    for code in {one["code"] for one in dead}:
        fleet.agents[code].kill()
    killed = fleet.now()
    fleet.collector.kill()
    fleet.start_collector()
    fleet.start_agents({one["code"] for one in dead})
    within_s = TTL_S + LINGER_S + ASKED_AGAIN_S
    eventually(lambda: len(in_use(fleet, killed)) > 5 - len(dead), within_s, fleet.story)
    connected = "SELECT count(DISTINCT server_id) FROM performance_logs WHERE connection_success"
    eventually(lambda: fleet.one(f"{connected} AND measured_at > %s", killed) == 3, 2 * EVERY_S, fleet.story)
    assert fleet.sessions("lab")["most"] == 5


def test_a_run_whose_renewals_do_not_arrive_ends_in_time(fleet: LabFleet) -> None:
    """While the collector stands still no tunnel outlives its lease; afterwards the fleet goes on."""
    fleet.apply(
        {GOOD: ACCOUNT + "20"},
        plan(
            "long",
            "50s",
            '["OpenVPN-TCP", "IKEv2"]',
            servers='["lab-de-ber-*", "lab-us-*"]',
            count=60,
            spacing="500ms",
        ),
    )
    before = fleet.now()
    eventually(lambda: fleet.sessions("lab")["now"] >= 3 and len(in_use(fleet, before)) >= 3, 45, fleet.story)
    assert boxes(fleet)
    fleet.signal_collector(signal.SIGSTOP)
    try:
        eventually(lambda: fleet.sessions("lab")["now"] == 0 and not boxes(fleet), TTL_S, fleet.story)
    finally:
        fleet.signal_collector(signal.SIGCONT)
    eventually(lambda: fleet.one(_MISSED, "no_lease", "long/%") >= 3, 20, fleet.story)
    logins = fleet.sessions("lab")["logins"]
    eventually(lambda: fleet.sessions("lab")["logins"] > logins, 30, fleet.story)


def boxes(fleet: LabFleet) -> list[str]:
    """The processes of all agents that measure inside a tunnel."""
    agents = [agent.process.pid for agent in fleet.agents.values() if agent.process is not None]
    return [" ".join(argv) for argv in descendants(*agents).values() if "box" in argv]


def use_all(fleet: LabFleet) -> None:
    """Have plans that use an expired account besides good ones, and one key at three vantages."""
    some = {"vantages": '["ams", "nyc"]', "count": 3, "spacing": "100ms"}
    keys = some | {"vantages": THREE}
    everything = '["OpenVPN-UDP", "OpenVPN-TCP", "IKEv2"]'
    fleet.apply(
        {GOOD: ACCOUNT + "5", EXPIRED: ACCOUNT + "5", WIREGUARD: ACCOUNT + "5"},
        plan("accounts", "18s", everything, **some) + plan("keys", "27s", '["WireGuard"]', **keys),
    )


def refused(fleet: LabFleet) -> dt.datetime:
    """Use all until the expired account is refused; since when it is."""
    use_all(fleet)
    state = "SELECT refused_at FROM sonde.accounts WHERE credential = %s"
    eventually(lambda: fleet.one(state, EXPIRED), 45, fleet.story)
    at = fleet.one(state, EXPIRED)
    assert isinstance(at, dt.datetime)
    return at


def test_a_refused_account_is_no_dead_server(fleet: LabFleet, capture: Path) -> None:
    """An expired account stops, with one event; no uptime changes, and others go on to the same hosts.

    A server that alone refuses a valid account is at fault, and its rows count.
    """
    assert capture
    since = refused(fleet)
    eventually(lambda: fleet.one(_OTHERS, since, list(HOSTS)) == len(HOSTS), 30, fleet.story)
    eventually(lambda: fleet.one(_MISSED, "credential", "accounts/%/OpenVPN-TCP") >= 3, 30, fleet.story)
    eventually(lambda: fleet.one(_STUBBORN), 15, fleet.story)
    fleet.apply({GOOD: ACCOUNT + "5", EXPIRED: ACCOUNT + "5", WIREGUARD: ACCOUNT + "5"}, "")
    held = eventually(lambda: _held_everywhere(fleet), 30, fleet.story)
    assert held == [{"credential": EXPIRED, "failure": "auth", "refused": True, "servers": len(HOSTS)}]
    assert fleet.one("SELECT count(*) FROM performance_logs WHERE credential = %s", EXPIRED) == 0
    eventually(lambda: _is_told_truly(fleet), 20, fleet.story)
    assert fleet.rows(_EVENTS) == [{"kind": "credential_refused", "subject": EXPIRED}]
    assert {row["server"] for row in fleet.rows(_DOWN)} <= {row["server"] for row in fleet.rows(_FAILED)}


def test_a_resumed_account_is_tried_again(fleet: LabFleet) -> None:
    """Once it is paid for, `credentials resume` lets its runs go on; what failed meanwhile stays held."""
    refused(fleet)
    held = eventually(lambda: _held_everywhere(fleet), 30, fleet.story)
    secrets = fleet.lab.folder / "secrets"
    words = [(secrets / f"expired.{part}").read_text().strip() for part in ("username", "password")]
    with (fleet.lab.folder / "servers" / "users").open("a") as users:
        users.write(" ".join(words) + "\n")
    assert "is tried again" in fleet.command("credentials", "resume", EXPIRED)
    connected = "SELECT count(*) FROM performance_logs WHERE credential = %s AND connection_success"
    eventually(lambda: fleet.one(connected, EXPIRED), 30, fleet.story)
    assert fleet.rows(_HELD) == held


def _held_everywhere(fleet: LabFleet) -> list[dict[str, Any]]:
    """What is held, once the result of every server that turned the account away has come."""
    held = fleet.rows(_HELD)
    return held if held and held[0]["servers"] == len(HOSTS) else []


def test_a_key_is_in_one_tunnel_at_a_time(fleet: LabFleet, capture: Path) -> None:
    """Three vantages have the same key: their tunnels follow each other, unless the account allows more."""
    use_all(fleet)
    eventually(lambda: len(_tunnels(capture)) >= 8, 45, fleet.story)
    once = _tunnels(capture)
    assert _at_once(once) == []
    assert any("is in use by another run" in agent.tail(100_000) for agent in fleet.agents.values())
    twice = plan("keys", "18s", '["WireGuard"]', vantages=THREE, count=5)
    fleet.apply({WIREGUARD: ACCOUNT + "5\nsame_key_twice = true"}, twice)
    eventually(lambda: _at_once(_tunnels(capture)), 30, fleet.story)


def _tunnels(capture: Path) -> list[tuple[float, float, str]]:
    """Every tunnel that was seen, in order: its first and last packet, and where they came from."""
    seen: dict[str, tuple[float, float]] = {}
    for at, source in re.findall(r"(?m)^([0-9.]+) .* IP6? ([0-9.]+) > ", capture.read_text()):
        first, _ = seen.get(source, (float(at), 0.0))
        seen[source] = first, float(at)
    return sorted((first, last, source) for source, (first, last) in seen.items())


def _at_once(tunnels: list[tuple[float, float, str]]) -> list[tuple[str, str]]:
    """Neighbours of which the later began before the earlier had ended."""
    return [(one[2], next_[2]) for one, next_ in pairwise(tunnels) if next_[0] < one[1]]


_OTHERS = """
SELECT count(DISTINCT s.ip_address) FROM performance_logs p JOIN servers s ON s.id = p.server_id
WHERE p.measured_at > %s AND p.connection_success AND host(s.ip_address) = ANY(%s)
"""
_MISSED = "SELECT count(*) FROM sonde.missed_runs WHERE reason = %s AND task LIKE %s"
_STUBBORN = """
SELECT count(*) FROM performance_logs
WHERE credential = 'lab' AND failure = 'auth' AND stage = 'auth' AND NOT connection_success
"""
# A busy host's agents are now and then not ready: what they say is held for that, and may hold anything.
_HELD = """
SELECT credential, failure, bool_or(held_because = 'credential refused') AS refused,
       count(DISTINCT server_id) AS servers
FROM sonde.performance_held
WHERE credential <> 'lab' AND (held_because <> 'vantage not ready' OR failure = 'auth') GROUP BY 1, 2
"""
_EVENTS = "SELECT kind, subject FROM sonde.events WHERE kind <> 'health_changed' ORDER BY at"
_DOWN = "SELECT DISTINCT subject AS server FROM sonde.events WHERE kind = 'health_changed'"
_FAILED = """
SELECT DISTINCT key AS server FROM performance_logs JOIN sonde.server_keys USING (server_id)
WHERE NOT connection_success AND (failure <> 'auth' OR credential = 'lab')
"""
_UPTIME = """
SELECT server_id, probe_id, uptime_pct FROM {} ORDER BY server_id, probe_id, {}
"""
_TRUE = """
SELECT server_id, probe_id,
       (100.0 * count(*) FILTER (WHERE connection_success) / count(*))::numeric(5,2) AS uptime_pct
FROM performance_logs WHERE connection_success IS NOT NULL
GROUP BY server_id, probe_id, date_trunc('{0}', measured_at, 'UTC')
ORDER BY server_id, probe_id, date_trunc('{0}', measured_at, 'UTC')
"""


def _is_told_truly(fleet: LabFleet) -> bool:
    """Whether every uptime is that of the rows that count."""
    views = {"hour": "performance_logs_hourly", "day": "mv_server_daily_stats"}
    return all(
        fleet.rows(_UPTIME.format(view, unit)) == fleet.rows(_TRUE.format(unit))
        for unit, view in views.items()
    )
