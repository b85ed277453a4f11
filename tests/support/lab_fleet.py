"""A fleet in a lab: an agent at every vantage, and a collector that they reach by a unix socket."""

import os
import shutil
import signal
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from attrs import frozen
from psycopg.rows import dict_row
from support.postgres import Server
from support.programs import BIN, Program, eventually, free_port, run

from sonde_lab.lab import Lab
from sonde_lab.truth import sessions

CITIES = {"sto": "Stockholm", "tok": "Tokyo", "fra": "Frankfurt", "ber": "Berlin", "chi": "Chicago"}
"""The provider's file names shorten cities to three letters."""


@frozen
class Customer:
    """What the agents know of a credential, and the fleet of its account.

    Attributes:
        files: the provider's, by the names that they get.
        account: whose user name and password they come with, as the lab names it; "" = none.
    """

    files: Mapping[str, Path]
    account: str = ""


class LabFleet:
    """All of it. `with LabFleet(...) as fleet:` ends every process.

    Args:
        folder: short, as it holds a socket.
        lab: up.
        server: where the database is made.
        customers: by credential.
    """

    def __init__(self, folder: Path, lab: Lab, server: Server, customers: Mapping[str, Customer]) -> None:
        self.folder, self.lab, self._customers = folder, lab, customers
        self._config = folder / "collector.toml"
        self._server, self._database = server, f"lab_{os.getpid()}"
        self.url = ""
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        self.collector = Program(
            "sonde-collector", "serve", "--config", str(self._config), log=folder / "log"
        )
        self.agents: dict[str, Program] = {}

    def __enter__(self) -> Self:
        self.url = self._server.create(self._database, "sonde_template")
        try:
            self._config.write_text(
                f'state_dir = "{self.folder / "collector"}"\n[database]\nurl = "{self.url}"\n'
                f'[grpc]\nlisten = ["unix:{self._socket}"]\n[http]\nlisten = "127.0.0.1:{free_port()}"\n'
            )
            self.start_collector()
            for code in self.lab.vantages:
                self._make_agent(code)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for program in (*self.agents.values(), self.collector):
            program.kill()
        if self._connection is not None:
            self._connection.close()
        self._server.drop(self._database)

    @property
    def _socket(self) -> Path:
        return self.folder / "collector.sock"

    def start_collector(self) -> None:
        """Start it, and return when it serves."""
        before = self.collector.log.read_text().count('"serving"') if self.collector.log.exists() else 0
        self.collector.start()
        eventually(
            lambda: self.collector.log.read_text().count('"serving"') > before, 30, self.collector.tail
        )

    def signal_collector(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.collector.process is not None
        self.collector.process.send_signal(number)

    def start_agents(self, codes: Iterable[str]) -> None:
        """Start the agents of some vantages."""
        for code in codes:
            self.agents[code].start()

    def _make_agent(self, code: str) -> None:
        home = self.folder / code
        home.mkdir()
        lines = [
            f'collector = "unix:{self._socket}"\nvantage = "{code}"\nstate_dir = "{home}"\nmetrics = ""',
        ]
        for name, customer in self._customers.items():
            kept = self.folder / "profiles" / name
            kept.mkdir(parents=True, exist_ok=True)
            for file, source in customer.files.items():
                shutil.copyfile(source, kept / file)
            lines.append(f'[credential.{name}]\nprofiles = "{kept}"')
            if customer.account:
                secrets = self.lab.folder / "secrets" / customer.account
                lines += [f'{part}_file = "{secrets}.{part}"' for part in ("username", "password")]
        config = home / "agent.toml"
        config.write_text("\n".join([*lines, ""]))
        argv = self.lab.command(code, [BIN / "sonde-agent", "run", "--config", config])
        self.agents[code] = Program(*argv, log=home / "log")

    def apply(self, accounts: Mapping[str, str], plans: str) -> None:
        """Make inventory and plans: the servers of these accounts' files.

        Args:
            accounts: credential -> further lines of its [[provider.account]].
            plans: tables of the fleet file.
        """
        parts = [
            f'[[vantage]]\ncode = "{code}"\ncity = "{code}"\ncountry = "NL"\n' for code in self.lab.vantages
        ]
        parts.append('[[provider]]\nkey = "lab"\nname = "Lab"\n')
        cities = ", ".join(f'{short} = "{city}"' for short, city in CITIES.items())
        for name, settings in accounts.items():
            parts.append(
                f'[[provider.account]]\nkey = "{name}"\n{settings}\n'
                f'[[provider.source]]\npath = "{self.folder / "profiles" / name}"\naccount = "{name}"\n'
                f'pattern = "{{country}}-{{city}}-*"\ncities = {{ {cities} }}\n'
            )
        file = self.folder / "fleet.toml"
        file.write_text("\n".join([*parts, plans]))
        self.command("apply", "--yes", str(file))

    def command(self, *arguments: str) -> str:
        """Run a command of the collector's; give what it printed."""
        done = run("sonde-collector", *arguments, "--config", str(self._config))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """Give what the database holds."""
        if self._connection is None:
            self._connection = psycopg.connect(self.url, autocommit=True, row_factory=dict_row)
        return self._connection.execute(query, values).fetchall()

    def one(self, query: str, *values: Any) -> Any:
        """Give the one value that a query yields."""
        (row,) = self.rows(query, *values)
        (value,) = row.values()
        return value

    def now(self) -> Any:
        """Give the database's time."""
        return self.one("SELECT clock_timestamp()")

    def sessions(self, user: str) -> Mapping[str, Any]:
        """Give what the provider's book says of one user name: now, most, logins, by_server."""
        lines = (self.lab.folder / "servers" / "sessions").read_text().splitlines()
        return sessions(lines).get(user, {"now": 0, "most": 0, "logins": 0, "by_server": {}})

    def story(self, codes: Sequence[str] = ()) -> str:
        """What a person needs to see when something did not happen."""
        missed = self.rows("SELECT reason, sum(slots) AS slots FROM sonde.missed_runs GROUP BY reason")
        leases = self.rows(
            "SELECT name, count(*), count(*) FILTER (WHERE expires_at > now()) AS live FROM sonde.leases"
            " WHERE free_at > now() GROUP BY name"
        )
        failures = self.rows(
            "SELECT credential, failure, stage, detail, count(*) FROM performance_logs"
            " WHERE failure IS NOT NULL GROUP BY 1, 2, 3, 4"
        )
        said = "\n---\n".join(self.agents[code].tail(1500) for code in codes or self.lab.vantages[:2])
        return f"{missed}\n{leases}\n{failures}\n{self.collector.tail(1500)}\n---\n{said}"
