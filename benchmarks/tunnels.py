#!/usr/bin/env python3
"""Tunnels in the lab: what our work adds to each protocol, beside the lab's own record of every packet.

A helper at each of the lab's vantages opens tunnels as for an agent. A round opens one of each protocol in
turn, alone: setting up, echoes inside, memory, taking down. Both ends of every tunnel and the delay lines
share this machine: what the far end takes counts in the excess, and is in the note.

usage: python benchmarks/tunnels.py [--only tunnel_setup_ms_ikev2,...] [--rounds 7]
"""

import json
from typing import Any

from tunnels_lab import Vantages, arguments, lab_with_helpers, rounds_in_time
from tunnels_rows import memory, row, timings
from tunnels_runs import CASES, DIRECT, ECHOES, SPACING_MS, Case, Pinged, direct_excess_us, pinged

ROWS = (
    "direct_rtt_excess_us",
    "tunnel_handshake_excess_ms_ikev2",
    "tunnel_handshake_excess_ms_openvpn_tcp",
    "tunnel_handshake_excess_ms_openvpn_udp",
    "tunnel_handshake_excess_ms_wireguard_go",
    "tunnel_memory_mb",
    "tunnel_rtt_excess_us_ikev2",
    "tunnel_rtt_excess_us_openvpn_tcp",
    "tunnel_rtt_excess_us_openvpn_udp",
    "tunnel_rtt_excess_us_wireguard_go",
    "tunnel_setup_ms_ikev2",
    "tunnel_setup_ms_openvpn_tcp",
    "tunnel_setup_ms_openvpn_udp",
    "tunnel_setup_ms_wireguard_go",
    "tunnel_teardown_ms_ikev2",
    "tunnel_teardown_ms_openvpn_tcp",
    "tunnel_teardown_ms_openvpn_udp",
    "tunnel_teardown_ms_wireguard_go",
)


def measured(at: Vantages, wanted: list[str], rounds: int) -> dict[str, dict[str, Any]]:
    """Measure what is wanted, and what comes along."""
    cases = [
        case
        for case in CASES
        if "tunnel_memory_mb" in wanted or any(name.endswith(case.name) for name in wanted)
    ]
    for case in cases:
        pinged(at[case.vantage], case)  # programs and libraries are in memory from here on
    runs: dict[Case, list[Pinged]] = {case: [] for case in cases}
    direct: list[float] = []
    for _ in rounds_in_time(rounds):
        for case in cases:
            runs[case].append(pinged(at[case.vantage], case))
        if "direct_rtt_excess_us" in wanted:
            direct.append(direct_excess_us(at[DIRECT.vantage]))
    found: dict[str, dict[str, Any]] = {}
    if direct:
        note = (
            f"median of {ECHOES} echoes to {DIRECT.server}, {SPACING_MS} ms apart, less the median that the "
            "line recorded of the same packets; the far end's kernel is in it."
        )
        found["direct_rtt_excess_us"] = row("direct_rtt_excess_us", "us", direct, note)
    for case, each in runs.items():
        found |= timings(case, each)
    if "tunnel_memory_mb" in wanted:
        found["tunnel_memory_mb"] = memory(runs)
    return {name: found[name] for name in ROWS if name in wanted}


def main() -> None:
    """Measure and print the rows."""
    wanted, rounds = arguments(str(__doc__), ROWS)
    with lab_with_helpers() as at:
        rows = measured(at, wanted, rounds)
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
