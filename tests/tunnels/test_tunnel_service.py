"""The agent as a service: what it is assigned, it runs through tunnels of its own helper, with leases."""

import asyncio
import json
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.lease_server import LeaseServer, lease_server
from support.programs import BIN
from support.scripted_collector import until

from sonde_agent.spool import Spool
from sonde_lab.lab import Lab
from sonde_proto.quality import Quality
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("lab")]

CONFIG = """
collector = "unix:{folder}/grpc"
vantage = "ams"
state_dir = "{folder}/state"
metrics = ""
[tunnels]
helper = "{folder}/no-helper-here"
[limits]
tunnels = 2
[credential.wg]
profiles = "{profiles}/lab-wg"
[credential.ovpn]
profiles = "{profiles}/lab-ovpn"
username_file = "{secrets}/{account}.username"
password_file = "{secrets}/{account}.password"
"""


def tunnel(key: str, credential: str, profile: str, protocol: str) -> control_pb2.Task:
    """A tunnel every four seconds, a ping inside, the exit asserted."""
    task = control_pb2.Task(
        key=key, target=key, interval_ms=4000, timeout_ms=30_000, group=f"{key}/{protocol}"
    )
    spec = task.connection
    spec.credential, spec.profile, spec.protocol = credential, profile, protocol
    spec.exit_url = "http://203.0.113.1/ip"
    ping = spec.inside.add(key="ping", target=key, timeout_ms=5000).ping
    ping.count, ping.spacing_ms, ping.wait_ms, ping.payload_bytes = 3, 100, 1000, 16
    return task


@asynccontextmanager
async def agent(
    lab: Lab, tasks: list[control_pb2.Task], account: str = "lab"
) -> AsyncIterator[tuple[LeaseServer, Path, "subprocess.Popen[bytes]"]]:
    """An agent with these tasks at a vantage, and its collector."""
    with tempfile.TemporaryDirectory(prefix="sonde-") as name:  # short: a path of a socket
        folder = Path(name)
        text = CONFIG.format(
            folder=folder, profiles=lab.profiles, secrets=lab.folder / "secrets", account=account
        )
        (folder / "agent.toml").write_text(text)
        async with lease_server(f"unix:{folder}/grpc") as (collector, _):
            collector.assignment.revision, collector.assignment.database_id = 1, b"d" * 16
            collector.assignment.monthly_bytes = 10**9
            collector.assignment.tasks.extend(tasks)
            with (folder / "log").open("wb") as log:
                argv = [BIN / "sonde-agent", "run", "--config", folder / "agent.toml"]
                process = lab.popen("ams", argv, stdout=log, stderr=subprocess.STDOUT)
            try:
                yield collector, folder, process
            finally:
                process.kill()
                await asyncio.to_thread(process.wait)


async def ended(process: "subprocess.Popen[bytes]", folder: Path) -> list[pb.Result]:
    """Stop the agent as systemd does; give all that it measured."""
    process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 15) == 0, (folder / "log").read_text()
    spool = Spool.open(folder / "state" / "spool.sqlite", max_bytes=10**8, max_age_s=1e6, history_s=1e6)
    try:
        (stream,) = spool.streams()
        return [result for _, result in spool.peek(stream, 0, 10_000, 10**8).results]
    finally:
        spool.close()


async def test_assigned_tunnels_are_run_with_leases_and_yield_one_row_a_run(lab: Lab) -> None:
    """WireGuard and OpenVPN: success, exit and both pings in each row; leases are had and given back."""
    tasks = [
        tunnel("se1", "wg", "se-sto-wg-001.conf", "WireGuard"),
        tunnel("de1", "ovpn", "de-fra-udp-001.ovpn", "OpenVPN-UDP"),
        tunnel("gone", "wg", "nobody.conf", "WireGuard"),
        tunnel("other", "unknown", "x.conf", "WireGuard"),
    ]
    async with agent(lab, tasks) as (collector, folder, process):
        await until(lambda: len(collector.released) >= 4, within_s=60)
        rows = [one for one in await ended(process, folder) if one.HasField("performance")]
        state = collector.states[-1]
    for target, protocol, exit_address in (
        ("se1", "WireGuard", "203.0.113.101"),
        ("de1", "OpenVPN-UDP", "203.0.113.103"),
    ):
        for row in [one.performance for one in rows if one.target == target]:
            assert (row.connection_success, row.protocol, row.exit_address) == (True, protocol, exit_address)
            assert row.direct_ping_ms > 0
            assert row.ping_ms > 0
            assert row.sent == 3
            assert not row.quality & Quality.EXIT_UNKNOWN
            assert not row.failure
    assert {one.target for one in rows} >= {"se1", "de1", "gone"}
    gone = next(one.performance for one in rows if one.target == "gone")
    assert gone.failure == pb.FAILURE_PROFILE
    assert not gone.HasField("connection_success")
    assert [one.task for one in state.refused] == ["other"]
    assert {"tunnel:wireguard-go", "tunnel:openvpn", "credential:wg"} <= set(state.capabilities)
    wants = {(want.WhichOneof("resource"), one.server) for one in collector.asked for want in one.wants}
    assert wants == {("credential", "se1"), ("key", "se1"), ("credential", "de1")}
    assert all(one.connected for one in collector.released)
    assert not collector.held


async def test_a_refused_account_is_told_to_the_collector_with_its_lease(lab: Lab) -> None:
    """An expired account yields AUTH, in the row and in the word of release."""
    async with agent(lab, [tunnel("de1", "ovpn", "de-fra-udp-001.ovpn", "OpenVPN-UDP")], "expired") as one:
        collector, folder, process = one
        await until(lambda: bool(collector.released), within_s=40)
        rows = [one for one in await ended(process, folder) if one.HasField("performance")]
    assert collector.released[0].failure == pb.FAILURE_AUTH
    assert not collector.released[0].connected
    assert rows[0].performance.failure == pb.FAILURE_AUTH
    assert rows[0].performance.credential == "ovpn"


async def test_a_lease_that_is_not_renewed_ends_its_tunnel(lab: Lab) -> None:
    """The run is cut before its lease is over, the slot is missed, and the lease is given back."""
    task = tunnel("se1", "wg", "se-sto-wg-001.conf", "WireGuard")
    task.connection.inside[0].ping.count, task.connection.inside[0].timeout_ms = 200, 25_000
    async with agent(lab, [task]) as (collector, folder, process):
        collector.ttl_ms, collector.renews = 4000, False
        await until(lambda: bool(collector.released), within_s=40)
        results = await ended(process, folder)
    missed = [one.missed for one in results if one.HasField("missed")]
    assert pb.MISS_REASON_NO_LEASE in {one.reason for one in missed}
    assert not [one for one in results if one.HasField("performance")]


def test_the_doctor_tells_what_tunnels_lack(lab: Lab, tmp_path: Path) -> None:
    """The helper's answer, each protocol, and each account: good, with bad files, without its folder."""
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "a.conf").write_text("[Interface]\nPostUp = x\n")
    (bad / "b.conf").write_bytes((lab.profiles / "lab-wg" / "se-sto-wg-001.conf").read_bytes())
    text = f"""
collector = "unix:{tmp_path}/grpc"
vantage = "ams"
state_dir = "{tmp_path}/state"
[tunnels]
helper = "{tmp_path}/none"
[credential.good]
profiles = "{lab.profiles}/lab-ike"
[credential.bad]
profiles = "{bad}"
[credential.gone]
profiles = "{tmp_path}/gone"
[credential.secret]
profiles = "{lab.profiles}/lab-ike"
password_file = "{tmp_path}/no.password"
"""
    (tmp_path / "agent.toml").write_text(text)
    done = lab.run("ams", [BIN / "sonde-agent", "doctor", "--config", tmp_path / "agent.toml", "--json"])
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert found["tunnel helper"]["state"] == "ok", done.stderr
    assert {found[name]["state"] for name in ("WireGuard", "OpenVPN-UDP", "OpenVPN-TCP", "IKEv2")} == {"ok"}
    assert found["credential good"]["detail"].startswith("1 profiles in ")
    assert found["credential bad"]["state"] == "note"
    assert "a.conf:2:" in found["credential bad"]["detail"]
    assert found["credential gone"]["state"] == "lacking"
    assert "no.password" in found["credential secret"]["detail"]
