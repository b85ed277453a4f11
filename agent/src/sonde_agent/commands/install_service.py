"""`sonde-agent install-service`: the units, for a host without our package; and their removal."""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import sonde_agent
from sonde_agent.commands.output import say
from sonde_agent.systemd import placed

OK, FAILED = 0, 1
_RUNS = Path("/run/systemd/system")  # sd_booted(3)
_NEXT = """\
next:
  sonde-agent run --template > /etc/sonde/agent.toml    and edit it; it must be root's
  systemctl enable --now sonde-agent"""


def run(args: argparse.Namespace) -> int:
    """Write the units, remove them, or only tell what would be written."""
    python = Path(sys.executable)
    files = placed.files(python)
    if args.dry_run:
        for path, text in files.items():
            say(f"--- {path}\n{text}")
        return OK
    if os.geteuid() != 0:
        return _complain(["must run as root; --dry-run shows what it would write"])
    strangers = [path for path in files if path.exists() and not path.read_text().startswith(placed.MARK)]
    if strangers:
        return _complain([f"{path} is not ours: move it away" for path in strangers])
    return _uninstall(files) if args.uninstall else _install(files, python)


def _install(files: Mapping[Path, str], python: Path) -> int:
    if any(path.exists() for path in placed.PACKAGED):
        return _complain(["the sonde-agent package is installed here, and has its units"])
    if mistakes := placed.unfit(placed.look([python, Path(sonde_agent.__file__)])):
        return _complain([*mistakes, "install it as root where all may read it, such as /opt/sonde"])
    changed = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path])
        path.chmod(0o644)
        say(f"wrote {path}")
    Path("/etc/sonde").mkdir(mode=0o755, parents=True, exist_ok=True)
    if changed and _RUNS.is_dir() and not _make_known():
        return FAILED
    say(_NEXT if changed else "all of it is there already")
    return OK


def _make_known() -> bool:
    """Have the user made, the setting set, and the units read."""
    commands = (
        ("systemd-sysusers", "sonde-agent.conf"),
        (_sysctl(), "--prefix=/net/ipv4/ping_group_range"),
        ("systemctl", "daemon-reload"),
    )
    return all(_does(*command) for command in commands)


def _uninstall(files: Iterable[Path]) -> int:
    ours = [path for path in files if path.exists()]
    if not ours:
        say("nothing to remove")
        return OK
    here = _RUNS.is_dir()
    if here and not _does("systemctl", "disable", "--now", *placed.UNITS):
        return FAILED
    for path in ours:
        path.unlink()
        say(f"removed {path}")
    say("kept: /etc/sonde, /var/lib/sonde-agent, the user sonde-agent")
    return OK if not here or _does("systemctl", "daemon-reload") else FAILED


def _sysctl() -> str:
    folders = "/usr/lib/systemd:/lib/systemd"
    return shutil.which("systemd-sysctl", path=folders) or "/usr/lib/systemd/systemd-sysctl"


def _does(*command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        _complain([f"{command[0]}: {error.strerror}"])
        return False
    if done.returncode:
        _complain([f"{' '.join(command)} failed: {done.stderr.strip()}"])
    return done.returncode == 0


def _complain(lines: Iterable[str]) -> int:
    for line in lines:
        sys.stderr.write(f"sonde-agent install-service: {line}\n")
    return FAILED
