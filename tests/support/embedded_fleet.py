"""A fleet whose collector has an embedded PostgreSQL, and what an operator does with it."""

import os
import signal
import socket
from pathlib import Path

from support.fleet import Fleet, fleet_toml
from support.postgres import Server
from support.programs import Program, eventually, free_port, run

from sonde_collector.db.embedded import Embedded


class OwnServer(Server):
    """The server in a collector's state directory, as a fleet sees it: it lives while somebody uses it."""

    def __init__(self, state: Path) -> None:
        self.embedded = Embedded(state)

    @property
    def running(self) -> bool:
        """Always, to a fleet: whoever needs it starts it."""
        return True

    def url(self, database: str = "sonde", user: str = "sonde") -> str:
        """A connection URL over its socket."""
        assert user == "sonde"
        return self.embedded.url_of(database)

    def stop(self) -> None:
        """Ends a server that a killed collector left behind."""
        pid = self.embedded._pid()
        if pid is not None:
            os.kill(pid, signal.SIGQUIT)
            eventually(lambda: self.embedded._pid() is None, 20, f"postmaster {pid} lives on")


class EmbeddedFleet(Fleet):
    """One collector with its own database, and two agents. `with EmbeddedFleet(directory) as fleet:`."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, OwnServer(directory / "collector0" / "state"), "sonde")

    @property
    def config(self) -> Path:
        """The collector's configuration."""
        return self.directory / "collector0" / "collector.toml"

    def __exit__(self, *_: object) -> None:
        """Ends every process, the database's too."""
        super().__exit__()
        self.server.stop()

    def add_collector(self) -> int:
        """The collector, with schema and inventory made before by the commands of an operator."""
        folder, port = self.config.parent, free_port()
        folder.mkdir()
        self.config.write_text(
            f'state_dir = "state"\n[database]\nurl = "embedded:"\n[grpc]\nlisten = ["127.0.0.1:{port}"]\n'
            f'[http]\nlisten = "127.0.0.1:{free_port()}"\n'
        )
        self.command("migrate")
        self.apply(fleet_toml())
        log = folder / "log"
        self.collectors.append(Program("sonde-collector", "serve", "--config", str(self.config), log=log))
        self.ports.append(port)
        self.collectors[0].start()
        return 0

    def apply(self, text: str) -> None:
        """Applies an inventory."""
        file = self.directory / "fleet.toml"
        file.write_text(text)
        self.command("apply", str(file))

    def command(self, *arguments: str) -> str:
        """Runs a command of the collector that must end well; returns what it said."""
        done = run("sonde-collector", *arguments, "--config", str(self.config), within_s=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def serve_again(self) -> None:
        """Starts the collector and waits until it listens."""
        self.collectors[0].start()

        def listens() -> bool:
            assert self.collectors[0].running, self.collectors[0].tail()
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", self.ports[0])) == 0

        eventually(listens, 60, self.collectors[0].tail)
