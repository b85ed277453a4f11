"""OpenVPN and IKEv2 in a box: kill -9 of any process leaves nothing of them either."""

import os
import random
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from support import residue
from support.programs import eventually
from support.residue import descendants

from sonde_lab.lab import Lab

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("lab")]

GONE_WITHIN_S = 2.0
PROFILES = ("lab-ovpn/de-fra-udp-001.ovpn", "lab-ike/us-chi-ike-001.sswan")
VICTIMS = ("agent", "tunnel-helper", "box", "backend")
PROGRAMS = ("openvpn", "charon-systemd")


def victim(known: set[int], who: str) -> int | None:
    """One of the processes that are new since `known` was taken."""
    new = {pid: argv for pid, argv in descendants(os.getpid()).items() if pid not in known}
    for pid, argv in sorted(new.items()):
        is_backend = Path(argv[0]).name in PROGRAMS
        is_agent = "support.tunnel_by_hand" in argv and residue.parent_of(pid) != os.getpid()
        if {"agent": is_agent, "backend": is_backend}.get(who, who in argv):
            return pid
    return None


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_is_left_of_other_backends(lab: Lab, profile: str) -> None:
    """Kill -9 of agent, helper, checks or backend while the tunnel is up or coming leaves no process."""
    residue.adopt_orphans()
    known = set(descendants(os.getpid()))
    dice = random.Random(7)
    for who in VICTIMS:
        argv = [sys.executable, "-m", "support.tunnel_by_hand", str(lab.profiles / profile)]
        secrets = [str(lab.folder / "secrets" / f"lab.{name}") for name in ("username", "password")]
        user = lab.popen("ams", [*argv, *secrets], env={**os.environ, "PYTHONPATH": "tests"})
        try:
            chosen = eventually(partial(victim, known, who), 20, f"no {who}")
            time.sleep(dice.uniform(0, 0.8))
            os.kill(chosen, signal.SIGKILL)
            killed = time.monotonic()
            while left := {p: a for p, a in descendants(os.getpid()).items() if p not in known}:
                assert time.monotonic() - killed < GONE_WITHIN_S, f"{who}: left {left}"
                time.sleep(0.01)
        finally:
            user.kill()
            user.wait(5)
