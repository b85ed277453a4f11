"""Four tunnels at once: they do not disturb each other, are bounded, and cost little memory."""

import contextlib
import os
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import residue
from support.boxes import ping
from support.programs import eventually
from support.vantage import WAYS, Vantage, opened

from sonde_lab.lab import Lab
from sonde_proto.v1 import results_pb2 as pb
from sonde_proto.v1 import tunnel_pb2

pytestmark = [pytest.mark.root, pytest.mark.quiet]

PROTOCOLS = ("WireGuard", "OpenVPN-UDP", "OpenVPN-TCP", "IKEv2")
ECHOES = 40
REFERENCE = "203.0.113.3"
AS_GOOD_AS_NOTHING_MS = 0.3
MIB = 1024  # in the kernel's kB
MOST_MIB = 128  # a quarter of what limits.tunnels = "auto" counts for a tunnel


@pytest.fixture(scope="module")
def vantage(lab: Lab) -> Iterator[Vantage]:
    """A vantage with room for four tunnels."""
    with Vantage(lab, tunnels=4) as made:
        yield made


def median_ms(vantage: Vantage, protocol: str) -> float:
    """Of the round trips through one tunnel, 20 a second."""
    events = vantage.ask(opened(WAYS[protocol], ping(REFERENCE, count=ECHOES)))
    (row,) = [event.result.performance for event in events if event.WhichOneof("event") == "result"]
    assert row.received > ECHOES * 0.8, f"{protocol}: {row}"
    return row.ping_ms


@contextlib.contextmanager
def four(vantage: Vantage) -> Iterator[list[int]]:
    """One tunnel of each protocol, in use; gives the pids of their keepers."""
    with contextlib.ExitStack() as stack:
        for protocol in PROTOCOLS:
            stack.enter_context(vantage.connect(opened(WAYS[protocol], ping(count=1000))))
        yield eventually(lambda: keepers(vantage), 20, "no four tunnels")
    eventually(lambda: not residue.descendants(vantage.helper), 5, "tunnels are left")


def keepers(vantage: Vantage) -> list[int] | None:
    """The processes at the head of each tunnel, when all four have their checks and their program."""
    tree = residue.descendants(vantage.helper)
    inside = [argv for argv in tree.values() if argv[-1:] == ["box"]]
    heads = [pid for pid in tree if residue.parent_of(pid) == vantage.helper]
    return heads if len(inside) == len(heads) == len(PROTOCOLS) else None


def memory_mib(pids: list[int]) -> float:
    """What these processes alone use: what they share counts for each by its part (PSS)."""
    kib = 0
    for pid in pids:
        words = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
        kib += int(words[words.index("Pss:") + 1])
    return kib / MIB


def disturbances(vantage: Vantage) -> dict[str, str]:
    """By which protocol the median moved beyond its noise while three other tunnels were open, in words."""
    before = {protocol: median_ms(vantage, protocol) for protocol in PROTOCOLS}
    with ThreadPoolExecutor(len(PROTOCOLS)) as pool:
        together = list(pool.map(lambda protocol: median_ms(vantage, protocol), PROTOCOLS))
    # Where more programs want to run than there are processors, each packet waits its turn at each of them.
    wait_ms = AS_GOOD_AS_NOTHING_MS * max(1, os.getloadavg()[0] / (os.cpu_count() or 1))
    found = {}
    for protocol, beside in zip(PROTOCOLS, together, strict=True):
        alone = (before[protocol], median_ms(vantage, protocol))
        noise = max(alone) - min(alone)
        shift = beside - statistics.mean(alone)
        told = f"{protocol}: {shift:+.3f} ms beside three others; {noise:.3f} ms by itself"
        print(told)  # noqa: T201 -- a figure for who looks
        if shift > 2 * noise + wait_ms:
            found[protocol] = told
    return found


def test_tunnels_at_once_do_not_disturb_each_others_ping(vantage: Vantage) -> None:
    """Through each of four tunnels at once the median is that of the tunnel alone, within its own noise."""
    found = disturbances(vantage)
    if found:  # what tunnels do to each other they do again; what others do to this host, hardly
        again = disturbances(vantage)
        assert not found.keys() & again.keys(), (found, again)


def test_a_fifth_tunnel_is_refused_until_one_has_ended(vantage: Vantage) -> None:
    """limits.tunnels bounds them: one more is our side's refusal, and its place is free afterwards."""
    with four(vantage):
        (event,) = vantage.ask(opened(WAYS["WireGuard"]))
        assert event.ended.failure == pb.FAILURE_LOCAL
        assert "4 tunnels are open already (limits.tunnels)" in event.ended.detail
    events: list[tunnel_pb2.HelperEvent] = vantage.ask(opened(WAYS["WireGuard"]))
    assert events[-1].ended.failure == pb.FAILURE_NONE


def test_four_tunnels_fit_into_a_small_host(vantage: Vantage) -> None:
    """A tunnel in use, with all its processes, needs far less memory than limits.tunnels counts for it."""
    with four(vantage) as heads:
        figures: dict[str, float] = {}
        for head in heads:
            tree = residue.descendants(head)
            (name,) = {Path(argv[0]).name for argv in tree.values()} & {
                "wireguard-go",
                "openvpn",
                "charon-systemd",
            }
            figures[f"{name} {head}"] = memory_mib([head, *tree])
        helper = memory_mib([vantage.helper])
    print(figures, f"helper {helper:.1f} MiB")  # noqa: T201 -- figures for who looks
    assert max(figures.values()) < MOST_MIB, figures
