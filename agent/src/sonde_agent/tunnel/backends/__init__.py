"""The ways to bring a tunnel up, one file each, and the choice among them."""

from collections.abc import Callable, Mapping, Sequence

from sonde_agent.tunnel.backends.base import Backend, TunnelFailed
from sonde_agent.tunnel.backends.names import OF_PROTOCOL
from sonde_proto.v1 import results_pb2 as pb


def _wireguard_kernel() -> Backend:
    from sonde_agent.tunnel.backends.wireguard_kernel import WireGuardKernel  # noqa: PLC0415 -- one is used

    return WireGuardKernel()


def _wireguard_go() -> Backend:
    from sonde_agent.tunnel.backends.wireguard_go import WireGuardGo  # noqa: PLC0415 -- as above

    return WireGuardGo()


def _openvpn() -> Backend:
    from sonde_agent.tunnel.backends.openvpn import OpenVpnBackend  # noqa: PLC0415 -- as above

    return OpenVpnBackend()


def _ikev2() -> Backend:
    from sonde_agent.tunnel.backends.ikev2 import Ikev2  # noqa: PLC0415 -- as above

    return Ikev2()


BACKENDS: Mapping[str, Callable[[], Backend]] = {
    "wireguard-kernel": _wireguard_kernel,
    "wireguard-go": _wireguard_go,
    "openvpn": _openvpn,
    "ikev2": _ikev2,
}
"""Every backend by the name that configuration and results use."""


def lacking() -> dict[str, str | None]:
    """Give what this host lacks for each backend, in words; None = it can be used. Needs root."""
    return {name: make().lacks() for name, make in BACKENDS.items()}


def choose(protocol: str, forced: Sequence[str]) -> Backend:
    """Give the best backend that this host can use for `protocol`.

    Args:
        protocol: a key of `OF_PROTOCOL`.
        forced: names to choose from where any of them speaks the protocol, in this order; else all.

    Raises:
        TunnelFailed: this host lacks what each of them needs; the words say what, and how to mend it.
    """
    able = OF_PROTOCOL[protocol]
    lacking = []
    for name in [name for name in forced if name in able] or able:
        backend = BACKENDS[name]()
        lack = backend.lacks()
        if lack is None:
            return backend
        lacking.append(f"{name}: {lack}")
    raise TunnelFailed(pb.FAILURE_UNSUPPORTED, pb.STAGE_NONE, "; ".join(lacking))
