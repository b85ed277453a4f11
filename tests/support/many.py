"""Several collectors behind haproxy on one database, with agents that were enrolled through it."""

import contextlib
import dataclasses
import itertools
import re
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import psycopg
from support.audit import audit_stream, read_spool
from support.identity import Collector, Enrolled, House
from support.notices import channel, event
from support.postgres import Server
from support.programs import Program, eventually, free_port
from support.receivers import Webhook

from sonde_collector.db.pool import SERVING

EXAMPLE = Path(__file__).parents[2] / "packaging/haproxy/haproxy.cfg"
COLLECTORS = 3
VANTAGES = tuple(f"v{number}" for number in range(1, 7))
LEADER = """
SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = %s)
  AND l.classid = (hashtext('sonde')::bigint & 4294967295)::oid
  AND l.objid = (hashtext('notify')::bigint & 4294967295)::oid
"""
SESSIONS = """
SELECT max(n) FROM (
  SELECT count(*) AS n FROM pg_stat_activity WHERE datname = %s AND starts_with(application_name, %s)
  GROUP BY application_name
) AS of_each
"""
_SERVERS, _TARGETS = 8, 2


def fleet_text() -> str:
    """The inventory: ten results a second from each vantage."""
    parts = [f'[[vantage]]\ncode = "{code}"\ncity = "Amsterdam"\ncountry = "NL"\n' for code in VANTAGES]
    parts += ['[[provider]]\nkey = "acme"\nname = "Acme VPN"\n']
    parts += [
        f'[[server]]\nkey = "s{n}"\nprovider = "acme"\ncity = "Berlin"\ncountry = "DE"\n'
        f'ip_address = "127.1.0.{n}"\n'
        for n in range(1, _SERVERS + 1)
    ]
    parts += [
        f'[[target]]\nkey = "closed{n}"\nkind = "tcp"\nhost = "127.2.0.{n}"\nport = 1\n'
        for n in range(1, _TARGETS + 1)
    ]
    parts.append(
        '[[plan]]\nkey = "pings"\nchecks = ["ping"]\nservers = "*"\nevery = "1s"\nsuccess = "ping"\n'
        'ping = { count = 2, spacing = "10ms", wait = "500ms" }\n'
        '[[plan]]\nkey = "ports"\nchecks = ["endpoint"]\ntargets = "*"\nevery = "1s"\ntimeout = "1s"\n'
    )
    return "\n".join(parts)


class Balancer:
    """The example of packaging/haproxy, with the ports of a house: an operator changes no more than that."""

    def __init__(self, folder: Path, house: House) -> None:
        self.agents, self.enrol, self.api = (free_port() for _ in range(3))
        folder.mkdir()
        self.config = folder / "haproxy.cfg"
        self.config.write_text(self._filled(folder, house))
        # -W: reloads as under systemd; -db: in the foreground.
        self.program = Program("haproxy", "-W", "-db", "-f", str(self.config), log=folder / "log")

    def _filled(self, folder: Path, house: House) -> str:
        text = EXAMPLE.read_text()
        for number, one in enumerate(house.collectors, 1):
            host = f"collector{number}.example.com"
            for theirs, ours in (("7443", one.grpc), ("7444", one.enroll), ("7480", one.http)):
                text = text.replace(f"{host}:{theirs}", f"127.0.0.1:{ours}")
            text = text.replace(f"127.0.0.1:{one.grpc} port 7480", f"127.0.0.1:{one.grpc} port {one.http}")
        for theirs, ours in (("7443", self.agents), ("7444", self.enrol), ("7480", self.api)):
            text = text.replace(f"bind :{theirs}", f"bind 127.0.0.1:{ours}")
        text = text.replace("/etc/sonde/pki/ca.pem", str(house.pki.ca_cert))
        text = text.replace("collector.example.com", "localhost")
        text = text.replace("/run/haproxy/admin.sock", str(folder / "admin.sock"))
        text = text.replace("maxconn 25000", "maxconn 500").replace("/dev/log", "stdout format raw")
        return re.sub(r"(?m)^    (user|group) haproxy\n", "", text)

    def reload(self) -> None:
        """What `systemctl reload haproxy` does."""
        assert self.program.process is not None
        self.program.process.send_signal(12)  # SIGUSR2


class Many(House):
    """A house with three collectors, haproxy and six agents. `with Many(...) as many:` ends every process."""

    def __init__(self, folder: Path, server: Server) -> None:
        super().__init__(folder, server)
        self.events: list[int] = []
        self.most_sessions = 0
        self.leaders: list[tuple[float, frozenset[str]]] = []
        self._over = threading.Event()
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Starts all of it, and returns when each agent's results are committed."""
        super().__enter__()
        try:
            (self.folder / "fleet.toml").write_text(fleet_text())
            self.collectors[0].command("apply", str(self.folder / "fleet.toml"))
            for _ in range(COLLECTORS - 1):
                self.add_collector()
            self.balancer = Balancer(self.folder / "haproxy", self)
            self.balancer.program.start()
            through = dataclasses.replace(
                self.collectors[0], grpc=self.balancer.agents, enroll=self.balancer.enrol
            )
            with ThreadPoolExecutor(3) as pool:
                list(pool.map(lambda code: self.enrolled(code, through), VANTAGES))
            for agent in self.agents:
                agent.program.start()
            self.all_deliver()
            self.hook = self._open.enter_context(Webhook())
            with psycopg.connect(self.url, autocommit=True) as conn:
                channel(conn, "hook", url=self.hook.url)
            for work in (self._observe, self._tell):
                thread = threading.Thread(target=work, daemon=True)
                thread.start()
                self._open.callback(thread.join, 10)
            self._open.callback(self._over.set)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Ends all of it."""
        self._open.close()
        if hasattr(self, "balancer"):
            self.balancer.program.stop()
        super().__exit__()

    def all_deliver(self, within_s: float = 60) -> None:
        """Waits until something that each agent measures from now on is committed."""
        before = {agent.vantage: self._committed(agent)[0] for agent in self.agents}
        for agent in self.agents:
            eventually(
                lambda a=agent: self._committed(a)[0] > before[a.vantage] + 15,
                within_s,
                lambda a=agent: "\n".join(one.tail(1500) for one in (a.program, self.balancer.program)),
            )

    def leader(self) -> Collector | None:
        """Which collector sends notices now."""
        found = [name for (name,) in self.rows(LEADER, self.database)]
        assert len(found) <= 1, found
        return next((one for one in self.collectors if found and found[0].endswith(f":{one.grpc}")), None)

    def spread(self) -> Counter[str]:
        """How many agents each collector heard last."""
        return Counter(dict(self.rows("SELECT collector, count(*)::int FROM sonde.agents GROUP BY 1")))

    def _observe(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            while not self._over.wait(0.1):
                found = [name for (name,) in conn.execute(LEADER, (self.database,)).fetchall()]
                assert len(found) == len(set(found))
                (most,) = conn.execute(SESSIONS, (self.database, SERVING)).fetchone() or (0,)
                self.most_sessions = max(self.most_sessions, most or 0)
                self.leaders.append((time.monotonic(), frozenset(found)))

    def _tell(self) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            while not self._over.wait(0.5):
                self.events.append(event(conn, "drill", f"n{len(self.events)}", severity="critical"))

    def longest_without_leader_s(self) -> float:
        """The longest time in which nobody was seen to lead."""
        led = [at for at, names in self.leaders if names]
        return max(later - before for before, later in itertools.pairwise(led))

    def drain(self, within_s: float = 60) -> None:
        """Waits until all that is in the spools by now is acked, and stops the agents."""
        for agent in self.agents:
            wanted = {one.epoch: one.highest for one in read_spool(agent.spool, bodies=False)}
            eventually(lambda a=agent, w=wanted: _acked(a, w), within_s, agent.program.tail)
        for agent in self.agents:
            assert agent.program.stop(within_s=15) == 0, agent.program.tail()

    def audit(self) -> int:
        """Compares every spool with the database, seq by seq; gives how many results were compared."""
        with psycopg.connect(self.url) as conn:
            return sum(
                audit_stream(conn, stream, agent.spool)
                for agent in self.agents
                for stream in read_spool(agent.spool)
            )

    def notices(self) -> Counter[str]:
        """How often each of our events was told."""
        return Counter(got.headers["idempotency-key"].rpartition("/")[2] for got in list(self.hook.got))


def _acked(agent: Enrolled, wanted: dict[bytes, int]) -> bool:
    now = {one.epoch: one.acked for one in read_spool(agent.spool, bodies=False)}
    return all(now.get(epoch, 0) >= seq for epoch, seq in wanted.items())
