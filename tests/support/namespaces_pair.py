"""Two network namespaces and a veth pair between them, gone with the two programs that hold them."""

import contextlib
import ctypes
import signal
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1
_DEVICE = "v0"
_BURST_BYTES = 16_000
_LATENCY = "20ms"


class Pair(NamedTuple):
    """Who is where."""

    pids: tuple[int, int]
    first: str = "10.99.0.1"
    second: str = "10.99.0.2"

    @property
    def in_first(self) -> list[str]:
        """What to put before a command so that it runs in the first."""
        return ["nsenter", "--net", f"--target={self.pids[0]}"]

    @property
    def in_second(self) -> list[str]:
        """What to put before a command so that it runs in the second."""
        return ["nsenter", "--net", f"--target={self.pids[1]}"]

    def shape(self, mbps: float, *, upload: bool) -> None:
        """Let the sender's side pass so many 10^6 bit/s of Ethernet frames: the first's when it uploads."""
        self.unshape(upload=upload)
        burst = max(_BURST_BYTES, int(mbps * 250))
        shape = f"root tbf rate {mbps}mbit burst {burst} latency {_LATENCY}"
        self._sender(upload, f"tc qdisc add dev {_DEVICE} {shape}")

    def unshape(self, *, upload: bool) -> None:
        """Let it pass everything."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._sender(upload, f"tc qdisc del dev {_DEVICE} root")

    def _sender(self, upload: bool, command: str) -> None:  # noqa: FBT001 -- passed on
        inside = self.in_first if upload else self.in_second
        subprocess.run([*inside, *command.split()], check=True, capture_output=True)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


@contextlib.contextmanager
def pair() -> Iterator[Pair]:
    """Make both; root only."""
    holders = [
        subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo; exec sleep infinity"],
            stdout=subprocess.PIPE,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 -- no threads yet
        )
        for _ in range(2)
    ]
    try:
        for holder in holders:
            assert holder.stdout is not None
            holder.stdout.readline()  # it is in its namespace now
        two = Pair((holders[0].pid, holders[1].pid))
        make = f"ip link add {_DEVICE} netns {two.pids[0]} type veth peer name {_DEVICE} netns {two.pids[1]}"
        subprocess.run(make.split(), check=True)
        for inside, address in ((two.in_first, two.first), (two.in_second, two.second)):
            for command in (
                f"ip address add {address}/24 dev {_DEVICE}",
                "ip link set lo up",
                f"ip link set {_DEVICE} up",
            ):
                subprocess.run([*inside, *command.split()], check=True)
        yield two
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
            assert holder.stdout is not None
            holder.stdout.close()
