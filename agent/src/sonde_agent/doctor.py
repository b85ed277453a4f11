"""What this host lacks for measuring, and how to mend it. Connects to nothing but the collector."""

import ctypes
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from sonde_agent import unlock_diagnosis
from sonde_agent.config import AgentConfig, split_address
from sonde_agent.findings import Finding
from sonde_agent.identity import diagnosis as identity
from sonde_agent.net import stamps
from sonde_agent.net.icmp_socket import IcmpClosed, open_icmp
from sonde_agent.net.resolve import host_lacks
from sonde_agent.tunnel import diagnosis
from sonde_proto.units import format_size

_CONNECT_WITHIN_S = 3.0
_SOON_US = 7 * 86_400 * 1_000_000
_STA_UNSYNC = 0x0040  # adjtimex(2)
_TIMEX_BYTES = 208  # struct timex of 64-bit Linux; `status` is its fifth word of 8 bytes
_TIMEX_STATUS_AT = 40


def examine(config: AgentConfig | None, path: Path | None = None) -> Iterator[Finding]:
    """Look at this host, and with a configuration also at what that names."""
    yield from (icmp(4), icmp(6), raw_socket(), route(4), route(6), kernel_stamps(), tun(), time_sync())
    if config is None:
        return
    yield from diagnosis.examine(config, path)
    yield from unlock_diagnosis.examine(config)
    yield from blocks(config, _wall_us())
    yield state_space(config)
    yield collector(config)
    if config.tls is not None:
        yield identity.certificate(config.tls, config.vantage, _wall_us)
        if not config.collector.startswith("unix:"):
            yield identity.handshake(config, config.tls, _wall_us)
        if config.tls.enroll is not None:
            yield identity.renewal(config, config.tls)


def icmp(family: int) -> Finding:
    """Echoes of one family."""
    name = f"ICMP echo, IPv{family}"
    try:
        opened = open_icmp(family)
    except (IcmpClosed, OSError) as error:
        return Finding(name, "lacking", "no socket for it may be opened", str(error))
    opened.sock.close()
    if opened.raw:
        return Finding(
            name,
            "note",
            "through a raw socket; datagram ICMP is closed to this user's group",
            'sysctl -w net.ipv4.ping_group_range="0 2147483647", and a line in /etc/sysctl.d',
        )
    return Finding(name, "ok", "datagram socket, no privilege needed")


def raw_socket() -> Finding:
    """Raw sockets: only the fallback of ping needs them."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    except OSError:
        return Finding("raw sockets", "note", "not allowed; not needed while ICMP echo above is ok")
    return Finding("raw sockets", "ok", "allowed (CAP_NET_RAW)")


def route(family: int) -> Finding:
    """A way out for one family, by the routing table."""
    name = f"IPv{family} route"
    if host_lacks(family):
        detail = f"no route to the world: IPv{family} tasks yield no results here"
        # Much of the world is reached by IPv4 alone, little by IPv6 alone.
        state = {4: "lacking", 6: "note"}[family]
        return Finding(name, state, detail, "ask the network's operator for one")
    return Finding(name, "ok", "there is one")


def kernel_stamps() -> Finding:
    """Timestamps by the kernel, for every socket that measures."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        if stamps.enable(sock):
            return Finding("kernel timestamps", "ok", "sent and received packets are stamped")
    return Finding(
        "kernel timestamps",
        "lacking",
        "SO_TIMESTAMPING is refused: times are taken in this process, and flagged",
        "needs a Linux kernel of 4.13 or later without a sandbox that hides it (gVisor does)",
    )


def tun(device: Path = Path("/dev/net/tun")) -> Finding:
    """The TUN device, which tunnels in userspace need."""
    if os.access(device, os.R_OK | os.W_OK):
        return Finding("TUN device", "ok", str(device))
    return Finding("TUN device", "note", f"{device} can't be opened: no userspace tunnels", "modprobe tun")


def time_sync() -> Finding:
    """Whether the kernel's clock is kept right."""
    libc = ctypes.CDLL(None, use_errno=True)
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: only read
    if libc.adjtimex(timex) < 0:
        return Finding("time sync", "note", f"unknown: adjtimex: {os.strerror(ctypes.get_errno())}")
    status = int.from_bytes(timex.raw[_TIMEX_STATUS_AT : _TIMEX_STATUS_AT + 4], "little")
    if status & _STA_UNSYNC:
        return Finding(
            "time sync",
            "note",
            "the kernel does not know of any; the collector's clock is compared with ours anyway",
            "run systemd-timesyncd or chrony",
        )
    return Finding("time sync", "ok", "the clock is disciplined")


def state_space(config: AgentConfig) -> Finding:
    """Room for the whole spool."""
    directory = config.state_dir
    while not directory.exists():
        directory = directory.parent
    disk = os.statvfs(directory)
    free, bound = disk.f_bavail * disk.f_frsize, config.spool.max_bytes
    detail = f"{format_size(free)} free at {config.state_dir}, the spool takes up to {format_size(bound)}"
    if free < bound:
        return Finding("state_dir space", "lacking", detail, "free some, or lower spool.max_bytes")
    return Finding("state_dir space", "ok", detail)


def collector(config: AgentConfig) -> Finding:
    """Whether something listens where the collector should."""
    if config.proxy:
        parts = urlsplit(config.proxy)
        where, what = (parts.hostname or "", parts.port or 80), f"proxy {config.proxy}"
    else:
        where, what = ("", 0), config.collector
    try:
        if not config.proxy and config.collector.startswith("unix:"):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.settimeout(_CONNECT_WITHIN_S)
                sock.connect(config.collector.removeprefix("unix:"))
        else:
            address = where if config.proxy else split_address(config.collector)
            socket.create_connection(address, _CONNECT_WITHIN_S).close()
    except OSError as error:
        return Finding(
            "collector",
            "lacking",
            f"{what}: {error.strerror or error}",
            "start it, or mend `collector`, the route or the firewall; the agent measures meanwhile",
        )
    return Finding("collector", "ok", f"{what} answers")


def blocks(config: AgentConfig, now_us: int) -> Iterator[Finding]:
    """What is blocked by `[[policy.block]]`: how much, what has ended, what soon will."""
    held = [block for block in config.policy.block if block.holds(now_us)]
    if config.policy.block:
        yield Finding("blocks", "ok", f"{len(held)} of {len(config.policy.block)} in force")
    for block in config.policy.block:
        if block not in held:
            yield Finding(
                "blocks", "note", f"has ended, and is measured again: {block}", "take it out of agent.toml"
            )
        elif not block.holds(now_us + _SOON_US):
            yield Finding("blocks", "note", f"ends within a week: {block}", "a later `until` prolongs it")


def _wall_us() -> int:
    return time.time_ns() // 1000
