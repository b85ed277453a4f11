"""The packages on a machine with systemd, in this order: installed, at work, upgraded, purged."""

import shutil
import time
from pathlib import Path

import pytest
from support.debs import build
from support.machine import Machine
from support.programs import eventually

from sonde_lab.lab import Lab

pytestmark = [
    pytest.mark.root,
    pytest.mark.quiet,
    pytest.mark.xdist_group("packages"),
    pytest.mark.timeout(400),
]

SERVICES = ("sonde-agent.service", "sonde-tunnel-helper.service", "sonde-collector.service")
PROFILES = {"lab-wg": "se-sto-wg-001", "lab-ovpn": "de-fra-udp-001", "lab-ike": "us-chi-ike-001"}
EXITS = {"203.0.113.101", "203.0.113.103", "203.0.113.105"}
SMALL_HOST = 512 * 2**20
SYSTEM = 128 * 2**20  # of it: kernel and systemd; more than a Debian 12 without services takes
HELPERS = sum(1 << number for number in (5, 6, 7, 8, 10, 12, 13, 21))
"""Capabilities: KILL, SETGID, SETUID, SETPCAP, NET_BIND_SERVICE, NET_ADMIN, NET_RAW, SYS_ADMIN."""
COLLECTOR = """
state_dir = "/var/lib/sonde-collector"
[database]
url = "embedded:"
"""
AGENT = """
collector = "127.0.0.1:7443"
vantage = "ams"
[policy]
allow = ["127.0.0.0/8"]
[limits]
tunnels = 1
"""
FLEET = """
[[vantage]]
code = "ams"
city = "Amsterdam"
country = "NL"
[[provider]]
key = "lab"
name = "Lab"
[[target]]
key = "closed"
kind = "tcp"
host = "127.2.0.1"
port = 1
[[plan]]
key = "tunnels"
checks = ["connection", "ping"]
every = "20s"
servers = "*"
ping = { count = 3, spacing = "100ms", wait = "1s" }
connection = { handshake_timeout = "8s", exit_url = "http://203.0.113.1/ip" }
[[plan]]
key = "ports"
checks = ["endpoint"]
targets = "*"
every = "1s"
timeout = "1s"
"""
ACCOUNT = """
[[provider.account]]
key = "{name}"
sessions = 5
[[provider.source]]
path = "/etc/sonde/{name}"
account = "{name}"
pattern = "{{country}}-{{city}}-*"
cities = {{ sto = "Stockholm", fra = "Frankfurt", chi = "Chicago" }}
"""
ARCHIVE = """
import duckdb, pyarrow, pyarrow.parquet
pyarrow.parquet.write_table(pyarrow.table({"a": [1, 2]}), "/var/lib/sonde-collector/t.parquet")
assert duckdb.sql("SELECT sum(a) FROM '/var/lib/sonde-collector/t.parquet'").fetchall() == [(3,)]
"""


def sql(machine: Machine, query: str) -> list[list[str]]:
    """What the collector's database answers, asked as an operator asks it."""
    asked = ("sonde-collector", "--config", "/etc/sonde/collector.toml", "sql", query)
    told = machine.said(*asked, user="sonde-collector")
    return [line.split("\t") for line in told.splitlines()]


def configure(machine: Machine, lab: Lab) -> None:
    """Write what an operator writes: three files, a profile for each protocol, the account's secrets."""
    agent, fleet = AGENT, FLEET
    for name, start in PROFILES.items():
        (source,) = (file for file in (lab.profiles / name).iterdir() if file.name.startswith(start))
        # The collector on this host reads the same folder to find the servers; it needs no secret of it.
        machine.write(f"/etc/sonde/{name}/{source.name}", source.read_text())
        agent += f'[credential.{name}]\nprofiles = "/etc/sonde/{name}"\n'
        if name != "lab-wg":
            agent += '{0}_file = "/etc/sonde/lab.{0}"\n{1}_file = "/etc/sonde/lab.{1}"\n'.format(
                "username", "password"
            )
        fleet = fleet.replace("[[target]]", ACCOUNT.format(name=name) + "[[target]]", 1)
    for part in ("username", "password"):
        machine.write(f"/etc/sonde/lab.{part}", (lab.folder / "secrets" / f"lab.{part}").read_text(), 0o600)
    machine.write("/etc/sonde/agent.toml", agent)
    machine.write("/etc/sonde/collector.toml", COLLECTOR)
    machine.write("/etc/sonde/fleet.toml", fleet)


def drop_in(machine: Machine, unit: str, text: str) -> None:
    """Add to a unit, as `systemctl edit --runtime` does."""
    machine.write(f"/run/systemd/system/{unit}.d/test.conf", f"[Service]\n{text}\n")
    machine.said("systemctl", "daemon-reload")


def test_installing_starts_nothing_and_the_programs_run(machine: Machine) -> None:
    """Both programs tell their version; a ping by hand and the doctor work; no service was started."""
    assert machine.said("sonde-agent", "--version").startswith("sonde-agent 0")
    assert machine.said("sonde-collector", "--version").startswith("sonde-collector 0")
    ping = machine.said("sonde-agent", "check", "ping", "127.0.0.1", "--count", "2", user="sonde-agent")
    assert "2 received" in ping
    doctor = machine.run("sonde-agent", "doctor", user="sonde-agent").stdout
    assert "datagram socket, no privilege needed" in doctor
    for unit in SERVICES:
        state = machine.properties(unit, "ActiveState", "UnitFileState")
        assert state["ActiveState"] == "inactive"
        assert state["UnitFileState"] in ("disabled", "static")


def test_without_a_configuration_the_agent_says_so_once(machine: Machine) -> None:
    """Exit code 2 and one line; systemd does not start it again and again."""
    machine.run("systemctl", "start", "sonde-agent")
    state = eventually(
        lambda: (
            (p := machine.properties(SERVICES[0], "ActiveState", "ExecMainStatus", "NRestarts"))
            and (p["ActiveState"] == "failed")
            and p
        ),
        20,
        lambda: machine.journal(SERVICES[0]),
    )
    assert (state["ExecMainStatus"], state["NRestarts"]) == ("2", "0")
    assert "agent.toml" in machine.journal(SERVICES[0])


def test_agent_helper_and_collector_work_as_confined_as_their_units_say(machine: Machine, lab: Lab) -> None:
    """Direct checks and all three kinds of tunnel arrive; agent and helper fit into a host of 512 MB."""
    configure(machine, lab)
    machine.write("/etc/sonde/collector.secrets/pgpass", "secret", 0o600)
    machine.write("/usr/local/bin/archive.py", ARCHIVE)
    archive = "/usr/lib/sonde-collector/bin/python -I /usr/local/bin/archive.py"
    drop_in(machine, "sonde-collector.service", f"ExecStartPost={archive}")
    machine.start("sonde-collector")
    main = machine.properties("sonde-collector.service", "MainPID")["MainPID"]
    secret = f"/proc/{main}/root/run/credentials/sonde-collector.service/secret_pgpass"
    assert machine.said("stat", "--format=%U %a", secret) == "sonde-collector 400\n"
    assert machine.said("cat", secret) == "secret"
    apply = ("--config", "/etc/sonde/collector.toml", "apply", "--yes", "/etc/sonde/fleet.toml")
    machine.said("sonde-collector", *apply, user="sonde-collector")
    machine.said("sh", "-c", "chmod -R go= /etc/sonde/lab-*/*")
    with machine.memory(SMALL_HOST - SYSTEM) as group:
        machine.start("sonde-agent", "sonde-tunnel-helper")
    exits = "SELECT exit_address::text FROM performance_logs WHERE connection_success AND ping_ms > 0"
    eventually(
        lambda: {row[0] for row in sql(machine, exits)} >= EXITS,
        90,
        lambda: machine.journal(SERVICES[0]) + machine.journal(SERVICES[1]),
    )
    assert int(sql(machine, "SELECT count(*) FROM sonde.endpoint_checks")[0][0]) > 0
    peak = int((group / "memory.max_usage_in_bytes").read_text())
    assert 40 * 2**20 < peak < SMALL_HOST - SYSTEM  # less than 40 MiB would say that they ran elsewhere
    assert "oom_kill 0" in (group / "memory.oom_control").read_text()
    for unit in SERVICES:
        state = machine.properties(unit, "ActiveState", "NRestarts", "Type")
        assert state == {"ActiveState": "active", "NRestarts": "0", "Type": "notify"}
    confined = {
        "sonde-agent.service": 0,
        "sonde-collector.service": 0,
        "sonde-tunnel-helper.service": 0x2035E0,
    }
    for unit, capabilities in confined.items():
        pid = machine.properties(unit, "MainPID")["MainPID"]
        told = machine.said("cat", f"/proc/{pid}/status")
        status = dict(line.split(":\t", 1) for line in told.splitlines() if ":\t" in line)
        assert (int(status["CapBnd"], 16), status["NoNewPrivs"], status["Seccomp"]) == (
            capabilities,
            "1",
            "2",
        )


@pytest.mark.parametrize("unit", SERVICES)
def test_a_service_that_hangs_is_killed_by_the_watchdog(machine: Machine, unit: str) -> None:
    """What is fed each service's watchdog comes from its own loop: stopped, it is gone within the time."""
    drop_in(machine, unit, "WatchdogSec=3\nTimeoutAbortSec=1")
    machine.said("systemctl", "restart", unit, within_s=90)
    time.sleep(4)  # longer than its watchdog waits: it lives because it feeds it
    state = machine.properties(unit, "ActiveState", "NRestarts", "MainPID")
    assert (state["ActiveState"], state["NRestarts"]) == ("active", "0")
    machine.said("kill", "-STOP", state["MainPID"])
    eventually(
        lambda: (
            "watchdog" in machine.properties(unit, "Result")["Result"]
            or int(machine.properties(unit, "NRestarts")["NRestarts"]) > 0
        ),
        20,
        lambda: machine.said("systemctl", "status", unit),
    )
    machine.said("rm", "-r", f"/run/systemd/system/{unit}.d")
    machine.said("systemctl", "daemon-reload")
    machine.said("systemctl", "restart", unit, within_s=90)


def test_an_upgrade_keeps_spool_identity_and_running_services(machine: Machine, tmp_path: Path) -> None:
    """The next revision over this one: the same stream goes on, files of /etc/sonde stay, the agent runs."""
    machine.write("/etc/sonde/agent.key", "identity", 0o640)
    streams = sql(machine, "SELECT DISTINCT stream_id FROM sonde.endpoint_checks")
    before = machine.properties(SERVICES[0], "MainPID")["MainPID"]
    newer = build(tmp_path, "--only", "sonde-agent", "--revision", "2")["sonde-agent"]
    shutil.copy(newer, machine.root / "packages")
    machine.said("apt-get", "-qq", "install", "--yes", f"/packages/{newer.name}", within_s=120)
    assert machine.said("dpkg-query", "-W", "-f", "${Version}", "sonde-agent").endswith("u2")
    after = machine.properties(SERVICES[0], "ActiveState", "MainPID")
    assert after["ActiveState"] == "active"
    assert after["MainPID"] != before
    now = sql(machine, "SELECT clock_timestamp()")[0][0]
    fresh = f"SELECT DISTINCT stream_id FROM sonde.endpoint_checks WHERE measured_at > '{now}'"
    assert eventually(lambda: sql(machine, fresh), 30, lambda: machine.journal(SERVICES[0])) == streams
    assert machine.said("cat", "/etc/sonde/agent.key") == "identity"


def test_a_purge_leaves_nothing(machine: Machine) -> None:
    """Removing stops the services and keeps state; purging takes files, state, users and links of units."""
    machine.said("systemctl", "enable", "-q", "sonde-agent", "sonde-collector")
    machine.said("apt-get", "-qq", "remove", "--yes", "sonde-agent", "sonde-collector", within_s=120)
    assert (machine.root / "var/lib/sonde-agent/spool.sqlite").exists()
    assert not machine.said("sh", "-c", "ls /proc/[0-9]*/exe -l 2>/dev/null | grep sonde || true")
    machine.said("apt-get", "-qq", "purge", "--yes", "sonde-agent", within_s=120)
    assert (machine.root / "etc/sonde/collector.toml").exists()
    assert not list((machine.root / "etc/sonde").glob("agent.*"))
    machine.said("apt-get", "-qq", "purge", "--yes", "sonde-collector", within_s=120)
    found = "find / -xdev ( -name *sonde* -o -name pgsql.sonde ) -not -path /packages/* -not -path /proc/*"
    left = machine.said(*found.split(), "-not", "-path", "/work/*", "-not", "-path", "/tmp/*", within_s=120)
    # What this system below the machine's has of its own accord is no trace of the packages.
    assert [path for path in left.splitlines() if not Path(path).exists()] == []
    assert not machine.run("getent", "passwd", "sonde-agent", "sonde-collector").stdout
