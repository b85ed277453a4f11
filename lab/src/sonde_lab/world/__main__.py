"""The program: the platforms, the proxy that smart DNS leads to, and a resolver that speaks TLS.

usage: python -m sonde_lab.world FOLDER LOGS VANTAGES

Writes FOLDER/ca.pem and FOLDER/known.json, says "ready", and serves until it is ended.
"""

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path

from sonde_lab import topology
from sonde_lab.certificates import Authority
from sonde_lab.topology import ORIGIN_ADDRESSES
from sonde_lab.world import CHANGES, KNOWN, REQUESTS, UNMATCHED, relay
from sonde_lab.world.atlas import Atlas, addresses
from sonde_lab.world.expected import known
from sonde_lab.world.leaves import Leaves
from sonde_lab.world.play import Books, Play
from sonde_lab.world.server import Server
from sonde_lab.world.shelf import MAP, Shelf, read_map
from sonde_rules import CASSETTES, RULES

_WEB = ((443, True), (80, False))
_DNS, _DNS_OVER_TLS = 53, 853


async def main(folder: Path, logs: Path, count: int) -> None:
    """Serve for ever."""
    shelf = Shelf.read(CASSETTES, RULES)
    atlas = Atlas.new(read_map(CASSETTES / MAP), addresses(topology.vantages(count)))
    authority = Authority.new("Sonde lab world CA")
    (folder / "ca.pem").write_text(authority.pem)
    (folder / KNOWN).write_text(known(shelf, atlas))
    leaves = Leaves(authority)
    with ExitStack() as stack:
        books = Books(*(stack.enter_context((logs / name).open("a")) for name in (REQUESTS, UNMATCHED)))
        server = Server(leaves.context, Play(shelf, atlas, folder / CHANGES, books))
        resolver = leaves.context("resolver.example")
        for place in (0, 1):
            at = {name: pair[place] for name, pair in ORIGIN_ADDRESSES.items()}
            for port, tls in _WEB:
                server.listen(at["world"], port, tls=tls)
                proxy = at["smart-proxy"]
                await relay.start((proxy, port), (at["world"], port), source=proxy)
            await relay.start((at["resolver"], _DNS_OVER_TLS), (at["resolver"], _DNS), tls=resolver)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
