"""The playbooks on one host, in order: set up, updated badly, put back, rotated, given back."""

import time
from pathlib import Path

import pytest
from support.one_host import PROFILE, Site
from support.programs import eventually

pytestmark = [
    pytest.mark.root,
    pytest.mark.quiet,
    pytest.mark.xdist_group("packages"),
    pytest.mark.timeout(400),
]

ONE = ("--limit", "one")
AGENT = "sonde-agent.service"
CREDENTIALS = "/etc/sonde/agent.credentials/lab-ovpn"


def test_a_check_of_a_new_host_shows_and_changes_nothing(site: Site) -> None:
    """Check mode tells the packages and both configurations; nothing is there afterwards."""
    played = site.controller.play("site", "--check", "--diff", *ONE)
    assert played.well, played.text
    assert "nothing -> 0.1.0" in played.text
    assert 'vantage = \\"nyc\\"' in played.text
    assert not (site.machine.root / "etc/sonde").exists()
    assert site.machine.run("dpkg-query", "--show", "sonde-agent").returncode


def test_what_can_not_work_is_refused_before_anything_is_touched(site: Site) -> None:
    """All that is wrong is told at once, and the host is as it was."""
    wrong = {
        "sonde_agent_collector": "nowhere.invalid",
        "sonde_agent_free_mb": 10**9,
        "sonde_agent_vantage": "a b",
    }
    played = site.controller.play("site", "--limit", "one", "--tags", "sonde_agent", **wrong)
    assert not played.well
    for part in (
        "nothing was changed",
        "can't resolve nowhere.invalid",
        "MB are free",
        'sonde_agent_vantage "a b"',
    ):
        assert part in played.text
    assert site.machine.run("dpkg-query", "--show", "sonde-agent").returncode


def test_site_makes_a_measuring_fleet(site: Site) -> None:
    """From a bare host to rows through a tunnel, whose account came out of the vault and is in no output."""
    played = site.controller.play("site", "--diff", *ONE)
    assert played.well, played.text
    rows = "SELECT count(*) FROM performance_logs WHERE connection_success AND ping_ms > 0"
    eventually(lambda: int(site.sql(rows)[0][0]) > 0, 60, lambda: site.machine.journal(AGENT))
    assert int(site.sql("SELECT count(*) FROM sonde.endpoint_checks")[0][0]) > 0
    journal = site.machine.said("journalctl", "--no-pager", "--output", "cat")
    assert "sonde-agent" in journal
    for secret in (site.password, "sonde1."):
        assert secret not in played.text
        assert secret not in journal
    held = f"{CREDENTIALS}/password {CREDENTIALS}/profiles/{PROFILE}.ovpn".split()
    assert site.machine.said("stat", "--format=%U %a", *held) == "root 600\nroot 600\n"
    assert (site.machine.root / held[0].lstrip("/")).read_text() == site.password


def test_a_second_run_changes_nothing(site: Site) -> None:
    """Not one task says that it changed anything, and the agent's process is the same."""
    before = site.machine.properties(AGENT, "MainPID")
    played = site.controller.play("site", *ONE)
    assert played.well, played.text
    assert played.changed == {"one": 0}, played.text
    assert site.machine.properties(AGENT, "MainPID") == before


def test_a_check_of_an_installed_host_shows_what_would_change(site: Site) -> None:
    """The difference of agent.toml, of the fleet, and the account that would go; all of it stays."""
    toml = site.machine.said("cat", "/etc/sonde/agent.toml")
    fleet = site.controller.folder / "fleet.toml"
    fleet.write_text(fleet.read_text().replace('every = "1s"', 'every = "2s"'))
    other = {"sonde_agent_config": {"limits": {"concurrency": 7}}, "sonde_agent_credentials": {}}
    played = site.controller.play("site", "--check", "--diff", *ONE, **other)
    fleet.write_text(fleet.read_text().replace('every = "2s"', 'every = "1s"'))
    assert played.well, played.text
    for line in (
        "+concurrency = 7",
        "-tunnels = 1",
        "~ plan ports: every 1 → 2",
        '-    "state": "directory"',
    ):
        assert line in played.text
    assert site.machine.said("cat", "/etc/sonde/agent.toml") == toml
    assert (site.machine.root / CREDENTIALS.lstrip("/") / "password").exists()
    assert not (site.machine.root / "etc/sonde/fleet.d.check").exists()


def test_a_broken_version_stops_in_the_first_ring(site: Site) -> None:
    """One message names host, reason, ring and the way back; the host of the next ring is not touched."""
    played = site.controller.play(
        "update", sonde_agent_package=str(site.broken), sonde_agent_started_timeout_s=3
    )
    assert not played.well
    message = played.errors[-1]
    assert len(played.errors) == 1, played.errors
    for part in (
        "one: sonde-agent does not start",
        "deliberately broken",
        "in ring 0, stops",
        "sonde.fleet.rollback",
    ):
        assert part in message
    assert played.changed["two"] == 0
    assert "unreachable=1" not in played.text
    assert site.version().startswith("0.1.1")


def test_a_rollback_restores(site: Site) -> None:
    """The previous package is back, without the controller having it; the agent measures."""
    played = site.controller.play("rollback", *ONE)
    assert played.well, played.text
    assert site.version().startswith("0.1.0")
    now = site.sql("SELECT clock_timestamp()")[0][0]
    fresh = f"SELECT count(*) FROM sonde.endpoint_checks WHERE measured_at > '{now}'"
    eventually(lambda: int(site.sql(fresh)[0][0]) > 0, 30, lambda: site.machine.journal(AGENT))
    kept = site.machine.said("ls", "/var/cache/sonde").split()
    assert [name.split("_")[0] for name in kept] == ["sonde-agent", "sonde-collector"]


@pytest.mark.parametrize("revoke", [False, True], ids=["renewed", "revoked"])
def test_rotation_gives_new_keys_and_the_agent_goes_on(site: Site, revoke: bool) -> None:  # noqa: FBT001 -- a case
    """Key and certificate are others, and the agent is heard by them; a revocation refuses the old ones."""
    identity = site.machine.root / "var/lib/sonde-agent/identity"
    before = (identity / "key.pem").read_text()
    began = time.time()
    played = site.controller.play("rotate", *ONE, sonde_rotate_revoke=revoke)
    assert played.well, played.text
    assert (identity / "key.pem").read_text() != before
    assert Path(site.machine.root, "var/lib/sonde-collector/pki/collector.key").stat().st_mtime > began
    revoked = site.sql("SELECT count(*) FROM sonde.revocations")[0][0]
    assert revoked == ("1" if revoke else "0")


def test_decommission_delivers_revokes_and_leaves_nothing(site: Site) -> None:
    """All that was measured is in the database; of the agent nothing is left but its rows."""
    assert not site.controller.play("decommission").well  # without --limit
    measured = "SELECT count(*), max(seq) FROM sonde.endpoint_checks"
    before = site.sql(measured)[0]
    played = site.controller.play("decommission", *ONE)
    assert played.well, played.text
    assert "Take vantage nyc out of the fleet file" in played.text
    assert int(site.sql(measured)[0][0]) > int(before[0])
    assert site.sql("SELECT count(*) FROM sonde.gaps") == [["0"]]
    assert int(site.sql("SELECT count(*) FROM sonde.revocations")[0][0]) == 1
    left = [path.name for path in (site.machine.root / "etc/sonde").iterdir()]
    assert not [name for name in left if name.startswith("agent")]
    assert not (site.machine.root / "var/lib/sonde-agent").exists()
    assert site.machine.said("ls", "/var/cache/sonde").startswith("sonde-collector")
