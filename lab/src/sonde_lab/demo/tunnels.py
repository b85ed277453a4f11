"""The demo's world with tunnels: the lab's virtual internet, its provider's files, and its truth."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType

from sonde_lab.demo import screen, unlocks
from sonde_lab.demo.files import NOTICES, toml
from sonde_lab.demo.outage import Outage
from sonde_lab.demo.screen import Truth
from sonde_lab.demo.unlocks import Matrix
from sonde_lab.demo.watch import Tunnel, View
from sonde_lab.demo.webhook import Heard
from sonde_lab.demo.world import Launch, StartChild
from sonde_lab.lab import Lab
from sonde_lab.programs import LabError
from sonde_lab.world import packed

CREDENTIALS = ("lab-wg", "lab-ovpn", "lab-ike", "lab-smart")
KEYS = ("lab-wg", "lab-smart")
"""Those that are keys, one for each vantage and server; the others are an account."""
CITIES = {"sto": "Stockholm", "tok": "Tokyo", "fra": "Frankfurt", "ber": "Berlin", "chi": "Chicago"}
"""The provider's file names shorten cities to three letters."""
CONNECT_RTTS = {"WireGuard": 1, "OpenVPN-UDP": 4, "OpenVPN-TCP": 5, "IKEv2": 6}
"""Round trips from start to connected, those of TCP and of the pushed configuration too."""
OUTAGE_OF = "ike-us"
"""Its handshakes need neither an account nor a tunnel, so they can be tried every few seconds."""
_ALL_WITHIN_S = 120.0
"""By then each vantage has been through each server once, transfers in between or not."""
_UNLOCK_WITHIN_S, _AFTER_OUTAGE_S = 60.0, 90.0
"""By then each platform has been asked through each server, also through the one that goes down."""
_TRUTH_EVERY_S = 5.0  # reading the records of every packet takes a while


class Tunnels:
    """See `sonde_lab.demo.world.World`.

    Args:
        folder: of the demo, absolute.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lab: Lab | None = None
        self._truth: Mapping[str, Any] = {}
        self._truth_at = 0.0
        self._since_s = 0.0
        self._outage: Outage | None = None
        self._rule_key = ""

    @property
    def vantages(self) -> tuple[str, ...]:
        """Codes."""
        return ("ams", "nyc")

    @property
    def by_socket(self) -> bool:
        """The lab's internet has no way to this host's loopback."""
        return True

    def start(self, stack: ExitStack, _child: StartChild) -> None:
        """Bring the lab up.

        Raises:
            LabError: this user can't have one here; says why.
        """
        if os.geteuid() != 0:
            raise LabError("it would come up, but tunnels need root")
        print("starting the virtual internet: 2 vantages, 5 VPN servers, origins, streaming platforms")
        self._lab = stack.enter_context(Lab.up(self._folder / "lab", faults=False))
        self._rule_key = packed.write(self._folder / unlocks.PACK, enabled=True)
        self._since_s = time.time()
        self._look()

    def fleet(self, webhook: str) -> str:
        """Give fleet.toml: the provider's folders as sources, and what is run through its servers."""
        return fleet(self._truth, self._running.profiles) + NOTICES.format(url=webhook)

    def agent(self, vantage: str) -> str:
        """Give the credentials as a customer has them."""
        lab = self._running
        parts = []
        for name in CREDENTIALS:
            folder = lab.profiles / "by-vantage" / vantage / name
            parts.append(
                f"[credential.{name}]\nprofiles = {toml(folder if folder.exists() else lab.profiles / name)}"
            )
            if name not in KEYS:
                account = self._truth["credentials"]["lab"]
                parts[-1] += "".join(
                    f"\n{file} = {toml(lab.folder / account[file])}"
                    for file in ("username_file", "password_file")
                )
        parts.append(unlocks.agent(self._folder, self._rule_key, lab.folder, self._truth["origin"]))
        return "\n\n".join(parts) + "\n"

    def launch(self, vantage: str, argv: Sequence[str | Path]) -> Launch:
        """At the vantage."""
        return Launch(self._running.command(vantage, argv))

    def tend(self, passed_s: float, seconds: float | None) -> str | None:
        """One server goes down for a while."""
        if self._outage is None:
            self._outage = Outage(self._running, OUTAGE_OF, seconds)
        return self._outage.tend(passed_s)

    def unheard(self, heard: Sequence[Heard]) -> list[str]:
        """The server that went down is told of."""
        if self._outage is None or not self._outage.happened:
            return []
        (stem,) = (_stem(server) for server in self._truth["servers"] if server["key"] == OUTAGE_OF)
        told = [one.notice for one in heard if str(one.notice.get("subject", "")).endswith(stem)]
        return [] if told else [f"the webhook heard nothing of {stem}, which was down"]

    def missing(self, view: View, seconds: float | None) -> list[str]:
        """Some tunnel of every agent is owed, and after two minutes every server from everywhere."""
        through = {(line.vantage, line.target) for line in view.tunnels if line.connected}
        lines = [
            f"no {what} of {vantage} arrived"
            for vantage in self.vantages
            for what, there in (
                ("result through a tunnel", any(one == vantage for one, _ in through)),
                ("endpoint result", any(one.vantage == vantage for one in view.endpoints)),
            )
            if not there
        ]
        lines += self._matrix(view).wrong()
        if seconds is None or seconds >= _UNLOCK_WITHIN_S:
            lines += self._matrix(view).absent(
                self._down if (seconds or _AFTER_OUTAGE_S) < _AFTER_OUTAGE_S else ""
            )
        if seconds is not None and seconds < _ALL_WITHIN_S:
            return lines
        return lines + [
            f"{vantage} did not get through {server['key']}"
            for server in self._truth["servers"]
            for vantage in self.vantages
            if not any(one == vantage and target.endswith(_stem(server)) for one, target in through)
        ]

    def picture(self, view: View) -> RenderableType:
        """Tunnels beside their truth, and endpoints."""
        if time.time() - self._truth_at > _TRUTH_EVERY_S:
            self._look()
        return Group(screen.tunnels(view, self._true), self._matrix(view).table(), screen.endpoints(view))

    def _names(self) -> dict[str, str]:
        """Give the inventory's key of each way, by the lab's."""
        ways = (*self._truth["servers"], self._truth["smart"])
        return {way["key"]: f"lab-{_stem(way)}" for way in ways}

    def _matrix(self, view: View) -> Matrix:
        """While a server is down, that a platform can't be reached through it is true."""
        seen = [one for one in view.unlocks if (one.target, one.verdict) != (self._down, "network_error")]
        return Matrix(seen, unlocks.true_of(self._truth, self._names()), self.vantages)

    @property
    def _down(self) -> str:
        """What the inventory calls the server that is or was down; "" = none was."""
        return self._names()[OUTAGE_OF] if self._outage is not None and self._outage.happened else ""

    @property
    def _running(self) -> Lab:
        assert self._lab is not None, "it was not started"
        return self._lab

    def _look(self) -> None:
        self._truth = self._running.truth(self._since_s)
        self._truth_at = time.time()

    def _true(self, line: Tunnel) -> Truth | None:
        for server in self._truth["servers"]:
            names = {
                _stem(server),
                _stem(self._truth["smart"]) if server["key"] == self._truth["smart"]["server"] else "",
            }
            if line.target.removeprefix("lab-") in names and line.protocol == server["protocol"]:
                ways = server["line"][line.vantage].values()
                recorded = [way["p50_ms"] for way in ways]
                return Truth(
                    rtt_ms=server["rtt_ms"][line.vantage] if None in recorded else sum(recorded),
                    loss_pct=server["loss_pct"],
                    rate_mbps=server["payload_mbps"],
                    connect_rtts=CONNECT_RTTS[line.protocol],
                )
        return None


def _stem(server: Mapping[str, Any]) -> str:
    """Give the part of a server's key that the inventory took from the name of its profile."""
    return Path(server["profile"]).stem


def fleet(truth: Mapping[str, Any], profiles: Path) -> str:
    """Give fleet.toml. **Pure.**

    Args:
        truth: the lab's.
        profiles: the folder that holds the provider's, one for each credential.
    """
    parts = ["# Written by `make demo`. The provider's files are those of the lab."]
    parts += [
        f"""\
[[vantage]]
code = "{vantage["code"]}"
city = "{vantage["city"]}"
country = "{vantage["country"]}"
monthly_gb = 20000
"""
        for vantage in truth["vantages"]
    ]
    parts.append('[[provider]]\nkey = "lab"\nname = "Lab"\n')
    cities = ", ".join(f'{short} = "{city}"' for short, city in CITIES.items())
    for name in CREDENTIALS:
        # A WireGuard customer has a key for each vantage; the others share one account.
        parts.append(
            f"""\
[[provider.account]]
key = "{name}"
sessions = {2 * len(truth["vantages"]) if name in KEYS else truth["credentials"]["lab"]["sessions"]}

[[provider.source]]
path = {toml(profiles / name)}
account = "{name}"
pattern = "{{country}}-{{city}}-*"
cities = {{ {cities} }}
"""
        )
    origin = truth["origin"]
    parts.append(
        _TARGETS.format(address=origin["addresses"]["origin"][0], ca=toml(profiles.parent / origin["ca"]))
    )
    parts.append(
        _PLANS.format(
            **origin, unlock=unlocks.PLAN, fast=json.dumps(["*-wg-*", "*-udp-*", "*-tcp-*", "*-ike-*"])
        )
    )
    return "\n".join(parts)


_TARGETS = """\
[[target]]
key = "origin"
kind = "http"
url = "https://origin.example/"
connect_to = ["{address}"]
ca_file = {ca}

[target.expect]
status = [200]
body_contains = "Sonde lab"
min_cert_days = 7
"""

_PLANS = """\
[[plan]]
key = "endpoints"
checks = ["endpoint"]
targets = "*"
every = "5s"
timeout = "4s"

# Through every server: connect, ping through the tunnel and directly, look at the exit, and ask streaming
# platforms what they make of it; a vantage asks them directly too.
[[plan]]
key = "tunnels"
checks = ["connection", "ping", "unlock"]
servers = "*"
every = "40s"

[plan.connection]
handshake_timeout = "8s"
exit_url = "{ip_url}"

[plan.ping]
count = 20
spacing = "100ms"
wait = "1s"
{unlock}
# Is it there? A handshake alone, often, of the server that goes down for a while.
[[plan]]
key = "watch"
checks = ["connection"]
servers = ["lab-us-*"]
every = "7s"

[plan.connection]
handshake_only = true
handshake_timeout = "2s"

# How fast: nothing else runs at the vantage meanwhile, and nobody else measures that server.
[[plan]]
key = "speed"
checks = ["connection", "throughput"]
servers = {fast}
every = "2m"

[plan.connection]
handshake_timeout = "8s"

[plan.throughput]
url = "{bytes_url}"
upload_url = "{upload_url}"
seconds = "2s"
max_bytes = "60MB"
direct = false
"""
