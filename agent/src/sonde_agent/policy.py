"""What this agent may touch, whatever the collector asks: a pure judgement of names, addresses, ports, files.

A task is judged twice. As assigned (`refuse_task`): kind of check, target, every name, port and file that it
names; what is refused is not scheduled, and is told to the collector. And at the last moment
(`refuse_address`, which a check asks just before its first packet): the address itself, because what a name
resolves to is not ours to trust. A refused task or address is never a fault of the target.

An address is judged in every shape in which it could reach a host: 127.1, 0x7f000001 and ::ffff:127.0.0.1 are
127.0.0.1, and an IPv4 address inside a NAT64 or 6to4 address is judged too.
"""

import ipaddress
from pathlib import PurePath

from sonde_agent.addresses import faces, parse_address, parse_network
from sonde_agent.config import Network, PolicyRules
from sonde_agent.task_places import files, places
from sonde_proto.v1 import control_pb2

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


class Policy:
    """The local rules, ready to judge. Pure."""

    def __init__(self, rules: PolicyRules) -> None:
        self._rules = rules
        self._deny = (*DENIED, *rules.deny)
        self._names: set[str] = set()
        self._suffixes: list[str] = []
        self._never: list[Network] = []
        for entry in rules.deny_targets:
            name = entry.rstrip(".").lower()
            network = parse_network(name)
            if network is not None:
                self._never.append(network)
            elif name.startswith("*."):
                self._suffixes.append(name[1:])
            else:
                self._names.add(name)

    def refuse_task(self, task: control_pb2.Task) -> str | None:
        """Why this agent will not run `task`, in words; None = it may.

        A name passes here whatever it resolves to: `refuse_address` judges that.
        """
        kind = task.WhichOneof("spec")
        if kind is None:
            return "this agent is too old for this kind of check"
        if kind not in self._rules.checks:
            return f'policy.checks does not hold "{kind}"'
        if self._is_named(task.target):
            return f'policy.deny_targets holds "{task.target}"'
        if denied := next((rule.slug for rule in task.unlock.rules if self._is_named(rule.slug)), None):
            return f'policy.deny_targets holds "{denied}"'
        try:
            named = list(places(task))
        except ValueError as error:
            return f"names no target that can be measured: {error}"
        refusals = [self.refuse_host(host, port) for host, port in named]
        refusals += [self._refuse_file(file) for file in files(task)]
        refusals += [self._refuse_inside(inside) for inside in task.connection.inside]
        return next((reason for reason in refusals if reason is not None), None)

    def _refuse_inside(self, task: control_pb2.Task) -> str | None:
        kind = task.WhichOneof("spec")
        if kind == "connection":
            return "no tunnel opens in a tunnel"
        if kind == "ping" and not task.ping.host and kind in self._rules.checks:
            return None  # the tunnel's own gateway
        reason = self.refuse_task(task)
        return f"inside the tunnel: {reason}" if reason else None

    def refuse_address(self, address: str, port: int | None) -> str | None:
        """Why nothing may be sent to `address` and `port` (None for ICMP), in words; None = it may."""
        parsed = parse_address(address)
        if parsed is None:
            return f'"{address}" is not an address'
        if port is not None and self._rules.ports and port not in self._rules.ports:
            return f"policy.ports does not hold {port}"
        for face in faces(parsed):
            if any(face in network for network in self._never):
                return f"policy.deny_targets holds a network of {face}"
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
        if self._is_named(host):
            return f'policy.deny_targets holds "{host}"'
        if port is not None and self._rules.ports and port not in self._rules.ports:
            return f"policy.ports does not hold {port}"
        return None

    def _refuse_file(self, file: PurePath) -> str | None:
        if any(_is_below(file, directory) for directory in self._rules.files):
            return None
        return f"policy.files holds no directory of {file}"

    def _is_named(self, name: str) -> bool:
        name = name.rstrip(".").lower()
        return name in self._names or any(name.endswith(suffix) for suffix in self._suffixes)


def _is_below(file: PurePath, directory: PurePath) -> bool:
    return ".." not in file.parts and file.is_relative_to(directory)
