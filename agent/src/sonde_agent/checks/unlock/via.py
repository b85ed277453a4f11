"""Whether an exit unlocks by itself or by its resolver: what two answers to the same question say. **Pure.**

A rule is asked as the tunnel's resolver answers. Only where that gave access (available or partial) is more
asked of anybody: the trusted resolver, through the same tunnel.

- The addresses that were connected to are among the trusted answers: the platform itself was asked. Native.
- They are not: the rule is asked again, pinned to the trusted answers. The same verdict and region: native.
  Another verdict or region: the resolver leads elsewhere, to a proxy. No useful answer (no network, a 429, a
  page that the rule does not know), or no trusted resolver: unknown.
"""

from collections.abc import Collection, Iterable, Mapping

from sonde_proto.v1 import results_pb2 as pb
from sonde_unlock.verdict import Judgement, Verdict

_ACCESS = (Verdict.AVAILABLE, Verdict.PARTIAL)
_SAYS_NOTHING = (
    Verdict.NETWORK_ERROR,
    Verdict.INCONCLUSIVE,
    Verdict.RATE_LIMITED,
    Verdict.NOT_CONFIGURED,
)


def gives_access(judgement: Judgement) -> bool:
    """Whether it matters how this came to be."""
    return judgement.verdict in _ACCESS


def same_places(connected: Iterable[tuple[str, str]], trusted: Mapping[str, Collection[str]]) -> bool:
    """Whether every address that was connected to is one that the trusted resolver gives for its name.

    Args:
        connected: name and address of each connection.
        trusted: name -> addresses.
    """
    return all(address in trusted.get(name, ()) for name, address in connected)


def compare(first: Judgement, pinned: Judgement) -> pb.Via.ValueType:
    """Say what asking again, pinned to the trusted answers, tells of the first verdict."""
    if pinned.verdict in _SAYS_NOTHING:
        return pb.VIA_UNKNOWN
    same = (pinned.verdict, pinned.region) == (first.verdict, first.region)
    return pb.VIA_NATIVE if same else pb.VIA_DNS_PROXY
