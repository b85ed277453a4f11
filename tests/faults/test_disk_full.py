"""A spool without room: what had to go is said, and nothing else goes."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from support.audit import read_spool
from support.books import balanced, current, events, rows
from support.builders import performance
from support.fleet import Agent, Fleet
from support.programs import eventually

from sonde_agent.spool import Spool

pytestmark = [pytest.mark.faults, pytest.mark.postgres]

DISK = "6m"
DAY_S = 86_400.0


@pytest.fixture
def cramped(fleet: Fleet) -> Iterator[Agent]:
    """An agent of the fleet whose state directory is a tiny disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a tmpfs")
    agent = fleet.agents[0]
    agent.program.kill()
    fleet.bury(agent)
    state = agent.spool.parent
    for path in state.iterdir():
        path.unlink()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "sonde-test", state], check=True)
    try:
        agent.program.start()
        yield agent
    finally:
        agent.program.kill()
        subprocess.run(["umount", "--lazy", state], check=True)


@pytest.mark.root
def test_a_full_disk_costs_the_oldest_and_an_agent_lives(fleet: Fleet, cramped: Agent) -> None:
    """Collector away and disk full: the agent measures on and says so once; rows and gaps cover all of it."""
    eventually(lambda: cramped.spool.exists() and current(cramped).acked > 50, 30, cramped.program.tail)
    fleet.collectors[0].stop()
    ballast = cramped.spool.parent / "ballast"
    room = os.statvfs(cramped.spool.parent)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - 16_384)

    def told() -> list[dict[str, str]]:
        return events(cramped.program, "disk_full") + events(cramped.program, "spool_write_failed")

    eventually(told, 60, cramped.program.tail)
    before = current(cramped).highest
    eventually(lambda: current(cramped).highest > before + 200, 30, cramped.program.tail)
    assert all("free some space in state_dir" in event["hint"] for event in told())
    assert len(events(cramped.program, "disk_full")) == 1, "said once"
    ballast.unlink()
    fleet.collectors[0].start()
    balanced(fleet)
    gaps = rows(fleet, "SELECT reason, sum(last_seq - first_seq + 1) FROM sonde.gaps GROUP BY 1")
    assert set(dict(gaps)) <= {"spool_full"}, gaps


def test_a_spool_far_over_its_bound_starts_and_accounts_for_all(fleet: Fleet) -> None:
    """Ten times the bound is kept when it is lowered: the agent starts, rows and gaps cover each seq."""
    agent = fleet.agents[0]
    fleet.collectors[0].stop()
    agent.program.stop()
    spool = Spool.open(agent.spool, max_bytes=64 << 20, max_age_s=14 * DAY_S, history_s=2 * DAY_S)
    for _ in range(30):
        spool.append([performance() for _ in range(1000)])
    spool.close()
    waiting = current(agent)
    assert agent.spool.stat().st_size > 10 * 256 * 1024
    config = agent.directory / "agent.toml"
    config.write_text(config.read_text().replace(fleet.spool_bytes, "256KiB"))
    agent.program.start()
    eventually(lambda: current(agent).highest > waiting.highest, 30, agent.program.tail)
    fleet.collectors[0].start()
    balanced(fleet)
    (lost,) = rows(
        fleet, "SELECT coalesce(sum(last_seq - first_seq + 1), 0) FROM sonde.gaps WHERE reason = 'spool_full'"
    )
    assert 20_000 < lost[0] < 31_000, "the oldest went, and were counted"
    assert not any(gap[1] > waiting.highest for stream in read_spool(agent.spool) for gap in stream.gaps)
