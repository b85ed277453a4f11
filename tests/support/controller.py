"""Where an operator sits: the collection as it is installed, an inventory, and ssh to machines of ours."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen
from support.machine import Machine

COLLECTION = Path(__file__).resolve().parents[2] / "ansible"
BIN = Path(sys.executable).parent
_RECAP = re.compile(r"^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", re.MULTILINE)


def lacking() -> list[str]:
    """Debian packages without which a machine can't be reached by ssh."""
    needed = {"ssh": "openssh-client", "sshd": "openssh-server"}
    return [package for program, package in needed.items() if shutil.which(program, path=_PATH) is None]


_PATH = f"{os.environ['PATH']}:/usr/sbin"


@frozen
class Played:
    """What a run of a playbook came to.

    Attributes:
        code: its exit code.
        text: all that it said.
    """

    code: int
    text: str

    @property
    def changed(self) -> dict[str, int]:
        """How many tasks changed something, by host."""
        return {host: int(changed) for host, changed, *_ in _RECAP.findall(self.text)}

    @property
    def errors(self) -> list[str]:
        """The messages of tasks that failed."""
        return [line for line in self.text.splitlines() if line.startswith("[ERROR]")]

    @property
    def well(self) -> bool:
        """Whether it reached the end on every host."""
        return self.code == 0


class Controller:
    """One operator's place.

    Args:
        folder: empty, and short: the paths of ssh's sockets end at 107 bytes.
        netns: the network in which the machines are reached.
    """

    def __init__(self, folder: Path, netns: Path) -> None:
        self.folder = folder
        self._ssh = folder / "ssh"
        self._ssh.write_text(f'#!/bin/sh\nexec nsenter --net={netns} ssh "$@"\n')
        self._ssh.chmod(0o755)
        (folder / "vault-password").write_text(secrets.token_hex())
        self._key = folder / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._key], check=True)
        self._galaxy("build", str(COLLECTION), "--output-path", str(folder))
        (archive,) = folder.glob("*.tar.gz")
        self._galaxy("install", str(archive), "-p", str(folder / "collections"), "--offline")

    def let_in(self, machine: Machine) -> None:
        """Have a machine take this operator's key, and start its sshd."""
        machine.write("/root/.ssh/authorized_keys", self._key.with_suffix(".pub").read_text(), 0o600)
        (machine.root / "root/.ssh").chmod(0o700)
        machine.start("ssh")

    def inventory(self, hosts: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        """Write it: groups, their hosts, variables of each. YAML is a superset of this JSON."""
        # One connection for all tasks; with the last of them it goes.
        ssh = f"-o ControlMaster=auto -o ControlPersist=30s -o ControlPath={self.folder}/%C"
        every = {
            "ansible_host": "127.0.0.1",
            "ansible_user": "root",
            "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_executable": str(self._ssh),
            "ansible_ssh_private_key_file": str(self._key),
            "ansible_ssh_args": f"{ssh} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
            "ansible_ssh_pipelining": True,
        }
        groups = {name: {"hosts": dict(each)} for name, each in hosts.items()}
        whole = {"all": {"vars": every, "children": groups}}
        (self.folder / "hosts.yml").write_text(json.dumps(whole, indent=1))

    def encrypt(self, *files: Path) -> None:
        """Have ansible-vault encrypt files, by the password that the playbooks are run with."""
        argv = [BIN / "ansible-vault", "encrypt", *files]
        subprocess.run(argv, env=self._environment(), capture_output=True, check=True, timeout=60)

    def play(self, playbook: str, *options: str, within_s: float = 300, **variables: Any) -> Played:
        """Run a playbook of the collection, with extra variables."""
        argv = [
            BIN / "ansible-playbook",
            "-i",
            self.folder / "hosts.yml",
            f"sonde.fleet.{playbook}",
            *options,
        ]
        if variables:
            argv += ["-e", json.dumps(variables)]
        done = subprocess.run(
            argv, cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=within_s,
        )  # fmt: skip
        return Played(done.returncode, done.stdout)

    def leave(self) -> None:
        """End the connections that are kept open."""
        for socket in self.folder.glob("[0-9a-f]" * 40):
            subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "there"], check=False)

    def _galaxy(self, *argv: str) -> None:
        command = [BIN / "ansible-galaxy", "collection", *argv]
        done = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": _PATH,
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": str(self.folder / "collections"),
            "ANSIBLE_HOME": str(self.folder / ".ansible"),
            "ANSIBLE_VAULT_PASSWORD_FILE": str(self.folder / "vault-password"),
            "ANSIBLE_NOCOLOR": "1",
        }
