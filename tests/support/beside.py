"""OpenVPN servers of a test's own beside those of a lab, on the same hosts: TCP, for a provider's account."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from support.programs import eventually

from sonde_lab import profiles
from sonde_lab.certificates import Authority
from sonde_lab.lab import Lab
from sonde_lab.topology import SERVERS
from sonde_lab.vpn_servers import openvpn

PORT = 443


class Beside:
    """Where such servers and their profiles are made; they end with the context, or with the lab.

    Args:
        folder: for their files.
        lab: up.
    """

    def __init__(self, folder: Path, lab: Lab) -> None:
        folder.mkdir()
        self._folder, self._lab = folder, lab
        self._authority = Authority.new("Another of the lab")
        self._static = openvpn.static_key()
        self._hosts: Mapping[str, str] = {server.key: server.entry[0] for server in SERVERS}
        self._running: list[subprocess.Popen[bytes]] = []
        self.users = folder / "users"
        self.users.touch()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._running:
            process.kill()
            process.wait(10)

    def start(self, key: str, name: str, users: Path | None = None) -> Path:
        """Start one, and give its profile.

        Args:
            key: of the lab's server whose host it is on.
            name: of the profile.
            users: lines "NAME PASSWORD" of who may log in; None = `users`, empty at first.
        """
        number = 80 + len(self._running)
        certificate, private = self._authority.issue([profiles.IDENTITY])
        inside = f"10.{number}.0", f"fd00:{number}::"
        endpoint = openvpn.Endpoint(
            f"{key}-beside",
            key,
            "tcp",
            PORT,
            *inside,
            self._authority.pem,
            certificate,
            private,
            self._static,
        )
        books = openvpn.Books(users or self.users, self._folder / "sessions")
        hooks = openvpn.hooks(self._folder, books).format(key=endpoint.key)
        conf, log = self._folder / f"{key}.conf", self._folder / f"{key}.log"
        # The host may have an OpenVPN server already, whose device has the usual name.
        text = openvpn.configuration(endpoint, hooks).replace(f"dev {openvpn.DEVICE}\n", "dev beside\n")
        conf.write_text(text)
        with log.open("wb") as out:
            self._running.append(
                self._lab.popen(key, ["openvpn", "--config", conf], stdin=subprocess.DEVNULL, stdout=out)
            )
        eventually(lambda: "Initialization Sequence Completed" in log.read_text(), 20, log.read_text)
        profile = self._folder / name
        profile.write_text(profiles.openvpn("tcp", self._hosts[key], PORT, self._authority.pem, self._static))
        return profile
