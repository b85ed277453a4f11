"""What this agent may touch, whatever the collector asks: a pure judgement of names, addresses, ports, files.

A task is judged twice. As assigned (`refuse_task`): kind of check, target, every name, port and file that it
names; what is refused is not scheduled, and is told to the collector. And at the last moment
(`refuse_address`, which a check asks just before its first packet): the address itself, because what a name
resolves to is not ours to trust. A refused task or address is never a fault of the target. The tunnel helper
judges both again, by its own copy of the file.

An address is judged in every shape in which it could reach a host: 127.1, 0x7f000001 and ::ffff:127.0.0.1 are
127.0.0.1, and an IPv4 address inside a NAT64 or 6to4 address is judged too.
"""

import ipaddress
from pathlib import PurePath

from sonde_agent.addresses import faces, parse_address
from sonde_agent.blocks import Block, Blocked
from sonde_agent.config import Network, PolicyRules
from sonde_agent.task_bounds import beyond, shown
from sonde_agent.task_places import files, places
from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

DENIED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # "this host": Linux connects to itself
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata services of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocol assignments
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarking of devices
        "224.0.0.0/4",
        "240.0.0.0/4",  # reserved, and broadcast
        "::/128",
        "::1/128",
        "64:ff9b:1::/48",  # NAT64 of a local network: hides private IPv4
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
)
"""Not measured unless `policy.allow` names it: this host, private, link-local, shared networks, multicast."""

_ENGINES = {
    pb.ENGINE_UNSPECIFIED: "http",
    pb.ENGINE_HTTP: "http",
    pb.ENGINE_IPERF3: "iperf3",
    pb.ENGINE_NDT7: "ndt7",
    pb.ENGINE_SPEEDTEST: "speedtest",
}


class Policy:
    """The local rules as they stand at one moment, ready to judge. Pure.

    Args:
        rules: `[policy]` of agent.toml.
        now_us: UTC [µs since 1970]: a block that has ended by then is none.
    """

    def __init__(self, rules: PolicyRules, now_us: int = 0) -> None:
        self._rules = rules
        self._deny = (*DENIED, *rules.deny)
        self._blocks = _in_force(rules, now_us)
        self._blocked = Blocked(rules.deny_targets, self._blocks)

    def at(self, now_us: int) -> "Policy":
        """Give the same rules as they stand at `now_us`."""
        return Policy(self._rules, now_us)

    def stands(self, now_us: int) -> bool:
        """Whether the rules say at `now_us` what they said when this was made."""
        return self._blocks == _in_force(self._rules, now_us)

    def refuse_task(self, task: control_pb2.Task) -> str | None:
        """Why this agent will not run `task`, in words; None = it may.

        A name passes here whatever it resolves to: `refuse_address` judges that.
        """
        kind = task.WhichOneof("spec")
        if kind is None:
            return "this agent is too old for this kind of check"
        if kind not in self._rules.checks:
            return f'policy.checks does not hold "{kind}"'
        named_so = (task.target, *(rule.slug for rule in task.unlock.rules))
        first = [beyond(task), *map(self._blocked.name, named_so), self._refuse_engine(task)]
        if reason := next(filter(None, first), None):
            return reason
        try:
            named = list(places(task))
        except ValueError as error:
            return f"names no target that can be measured: {shown(str(error))}"
        refusals = [self.refuse_host(host, port) for host, port in named]
        refusals += [self._refuse_file(file) for file in files(task)]
        refusals += [self._inside(inside) for inside in task.connection.inside]
        return next((reason for reason in refusals if reason is not None), None)

    def _refuse_engine(self, task: control_pb2.Task) -> str | None:
        engine = _ENGINES.get(task.throughput.engine)
        if not task.HasField("throughput") or engine is None or engine in self._rules.engines:
            return None  # an engine that is not known here fails by itself
        return f'policy.engines does not hold "{engine}"'

    def refuse_inside(self, task: control_pb2.Task) -> str | None:
        """Why `task` may not run in a tunnel, in words; None = it may."""
        kind = task.WhichOneof("spec")
        if kind == "connection":
            return "no tunnel opens in a tunnel"
        if kind == "ping" and not task.ping.host and kind in self._rules.checks:
            return beyond(task)  # the tunnel's own gateway
        return self.refuse_task(task)

    def _inside(self, task: control_pb2.Task) -> str | None:
        reason = self.refuse_inside(task)
        return f"inside the tunnel: {reason}" if reason else None

    def refuse_address(self, address: str, port: int | None) -> str | None:
        """Why nothing may be sent to `address` and `port` (None for ICMP), in words; None = it may."""
        parsed = parse_address(address)
        if parsed is None:
            return f"{shown(address)} is not an address"
        if port is not None and self._rules.ports and port not in self._rules.ports:
            return f"policy.ports does not hold {port}"
        for face in faces(parsed):
            if blocked := self._blocked.address(face):
                return blocked
            if any(face in network for network in self._rules.allow):
                continue
            for network in self._deny:
                if face in network:
                    return f"{face} is in {network}, which policy.deny or the built-in list denies"
        return None

    def refuse_host(self, host: str, port: int | None) -> str | None:
        """Why nothing may be sent to a name or address, as far as it says by itself; None = it may."""
        if parse_address(host) is not None:
            return self.refuse_address(host, port)
        if blocked := self._blocked.name(host):
            return blocked
        if port is not None and self._rules.ports and port not in self._rules.ports:
            return f"policy.ports does not hold {port}"
        return None

    def _refuse_file(self, file: PurePath) -> str | None:
        if any(_is_below(file, directory) for directory in self._rules.files):
            return None
        return f"policy.files holds no directory of {shown(str(file))}"


def _in_force(rules: PolicyRules, now_us: int) -> tuple[Block, ...]:
    return tuple(block for block in rules.block if block.holds(now_us))


def _is_below(file: PurePath, directory: PurePath) -> bool:
    return ".." not in file.parts and file.is_relative_to(directory)
