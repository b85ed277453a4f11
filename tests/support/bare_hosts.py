"""Fresh Debian hosts as a new user rents them, on a small internet of their own, and a place for that user.

Each host is a machine (`support.machine`) made of one image: Debian's required and important packages, what a
cloud image adds, and nothing of ours. A bridge joins them to the user's place, where are a resolver that
knows all names, and a web server. No packet leaves it, so apt finds no archive: the packages under test have
to do with what such an image holds, which they do.

All of it ends with the test, however that ends: namespaces and processes die with the one that made them.
"""

import contextlib
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.debs import ROOT
from support.machine import ALONE, Machine, missing
from support.programs import eventually
from support.web_server import authority

CLOUD = (
    "ca-certificates", "dbus", "iproute2", "libpam-systemd", "openssh-server", "python3", "python3-apt",
    "sudo", "systemd", "systemd-sysv",
)  # fmt: skip
"""What a Debian cloud image has besides, of what matters here; python3 is there for cloud-init."""
WEB = "www.example.com"
_NET = "192.0.2"
_USER = f"{_NET}.1"
_PROGRAMS = {
    "mmdebstrap": "mmdebstrap", "dnsmasq": "dnsmasq-base", "nginx": "nginx-light", "ssh": "openssh-client",
    "ssh-keygen": "openssh-client", "ip": "iproute2",
}  # fmt: skip
_PLACE = """
set -eu
cd "$1"
user=$2
shift 2
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/netns
mount --bind "$PWD/hosts" /etc/hosts
ip link set lo up
ip link add br0 type bridge
ip address add "$user/24" dev br0
ip link set br0 up
while [ $# -gt 0 ]; do
    ip netns add "$1"
    ip link add "$1" type veth peer name eth0 netns "$1"
    ip link set "$1" master br0 up
    ip -n "$1" link set lo up
    ip -n "$1" address add "$2/24" dev eth0
    ip -n "$1" link set eth0 up
    ip -n "$1" route add default via "$user"
    shift 2
done
dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-poll --local=/example.com/ \
    --bind-interfaces --listen-address="$user" --user=root --log-facility="$PWD/dnsmasq.log" &
nginx -p "$PWD/" -c "$PWD/nginx.conf" -e "$PWD/nginx.log" &
touch "$PWD/ready"
wait
"""
_NGINX = """
daemon off;
user root;
pid nginx.pid;
events {{ }}
http {{
    access_log off;
    client_body_temp_path tmp;
    server {{
        listen {address}:80;
        listen {address}:443 ssl;
        ssl_certificate leaf.pem;
        ssl_certificate_key leaf.pem;
        default_type text/html;
        location / {{ return 200 "an example\\n"; }}
    }}
}}
"""
_SSH = """
UserKnownHostsFile {folder}/known_hosts
StrictHostKeyChecking accept-new
IdentityFile {folder}/id
IdentitiesOnly yes
BatchMode yes
ConnectTimeout 10
LogLevel ERROR
"""


def lacking() -> list[str]:
    """Debian packages without which there are no such hosts."""
    return sorted({*missing(), *(package for tool, package in _PROGRAMS.items() if not shutil.which(tool))})


def image() -> Path:
    """The tar of such a host's root: made once, kept in var/, named by what it is made of."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    argv = ["mmdebstrap", "--quiet", "--variant=important", f"--include={','.join(CLOUD)}", release]
    key = hashlib.sha256(json.dumps(argv).encode()).hexdigest()[:12]
    tar = ROOT / "var" / "bare" / f"{release}-{key}.tar"
    if not tar.exists():
        tar.parent.mkdir(parents=True, exist_ok=True)
        for old in tar.parent.glob("*.tar*"):
            old.unlink()
        made = tar.with_name(f"{tar.stem}.{os.getpid()}.tar")
        subprocess.run([*argv, made], check=True, timeout=600)
        made.rename(tar)
    return tar


class BareHosts:
    """Those that are up.

    Attributes:
        hosts: name -> machine.
        addresses: name -> address.
        folder: the user's.
        netns: the user's network.
    """

    def __init__(self, folder: Path, pid: int, addresses: Mapping[str, str]) -> None:
        self.folder, self._pid, self.addresses = folder, pid, addresses
        self.netns = Path(f"/proc/{pid}/ns/net")
        self.hosts: dict[str, Machine] = {}

    def you(
        self, script: str, within_s: float = 60, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a script of the user's, in the user's folder and network; `ssh` and `scp` have the key."""
        path = f"{self.folder}/bin:{os.environ.get('PATH', '')}"
        enter = ["nsenter", f"--target={self._pid}", "--net", "--mount", "--pid", "--"]
        return subprocess.run(
            [*enter, "bash", "-eo", "pipefail", "-c", f"cd {shlex.quote(str(self.folder))}\n{script}"],
            env=os.environ | {"PATH": path} | (environ or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
        )

    def on(self, host: str, script: str, within_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a script on a host as root, by ssh, as its user would type it."""
        there = shlex.join(["bash", "-eo", "pipefail", "-c", script])
        return self.you(f"ssh root@{host} {shlex.quote(there)}", within_s)


@contextlib.contextmanager
def bare_hosts(folder: Path, hosts: Mapping[str, str]) -> Iterator[BareHosts]:
    """Have them booted, with sshd up.

    Args:
        folder: empty; becomes the user's, with what is made for them beside.
        hosts: full name -> last part of its address, of 192.0.2.2 to 192.0.2.254.
    """
    system, there = image(), folder / "place"
    there.mkdir()
    addresses = {name: f"{_NET}.{last}" for name, last in hosts.items()}
    ca = _furnish(there, addresses)
    links = [part for name, address in addresses.items() for part in (name.partition(".")[0], address)]
    with contextlib.ExitStack() as stack:
        place = subprocess.Popen(
            [*ALONE, "--net", "--mount-proc", "sh", "-c", _PLACE, "sh", str(there), _USER, *links],
            stdin=subprocess.DEVNULL,
            stdout=stack.enter_context((there / "log").open("wb")),
            stderr=subprocess.STDOUT,
        )
        stack.callback(place.wait)
        stack.callback(place.kill)
        eventually((there / "ready").exists, 20, (there / "log").read_text)
        (pid,) = Path(f"/proc/{place.pid}/task/{place.pid}/children").read_text().split()
        bare = BareHosts(folder, int(pid), addresses)
        _give_ssh(folder)
        for name in hosts:
            short = name.partition(".")[0]
            (folder / "machines" / short).mkdir(parents=True)
            netns = Path(f"/proc/{pid}/root/run/netns/{short}")
            machine = stack.enter_context(Machine(folder / "machines" / short, None, netns, system))
            _rent(machine, name, (folder / "id.pub").read_text(), ca.read_text())
            bare.hosts[name] = machine
        for name in hosts:
            eventually(lambda name=name: bare.on(name, "true").returncode == 0, 20, f"{name}: no ssh")
        yield bare


def _furnish(there: Path, addresses: Mapping[str, str]) -> Path:
    """Write what the place's programs read; give the authority of its web server."""
    known = {WEB: _USER} | dict(addresses)
    lines = [f"{address} {name}" for name, address in known.items()]
    (there / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))
    (there / "nginx.conf").write_text(_NGINX.format(address=_USER))
    return authority(there, [WEB])[0]


def _give_ssh(folder: Path) -> None:
    """Give the user a key, and programs that use it and nothing of whoever runs the tests."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "id"], check=True)
    (folder / "ssh_config").write_text(_SSH.format(folder=folder))
    (folder / "bin").mkdir()
    for program in ("ssh", "scp"):
        script = folder / "bin" / program
        script.write_text(f'#!/bin/sh\nexec {shutil.which(program)} -F {folder}/ssh_config "$@"\n')
        script.chmod(0o755)


def _rent(machine: Machine, name: str, key: str, ca: str) -> None:
    """Make of it what a hoster hands over: its name, the network's resolver, the customer's key."""
    short = name.partition(".")[0]
    machine.write("/etc/hostname", f"{short}\n")
    machine.said("hostname", short)
    machine.write("/etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {name} {short}\n")
    machine.said("rm", "-f", "/etc/resolv.conf")
    machine.write("/etc/resolv.conf", f"nameserver {_USER}\n")
    machine.write("/root/.ssh/authorized_keys", key, 0o600)
    # The Internet's web servers have certificates of authorities that Debian knows; this one has its own.
    machine.write("/usr/local/share/ca-certificates/here.crt", ca)
    machine.said("update-ca-certificates")
