"""What the demo finds out about its host."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sonde_lab.demo.host import DemoError, free_port, only_one, socket_path


def test_a_port_in_use_is_passed_over() -> None:
    """The preferred port is taken when it is free on all addresses, and only then."""
    free = free_port(("127.0.0.1",), 0)
    assert free_port(("127.0.0.1", "127.2.0.1"), free) == free
    with socket.create_server(("127.2.0.1", free)):
        assert free_port(("127.0.0.1", "127.2.0.1"), free) != free


def test_a_long_folder_gets_a_short_socket(tmp_path: Path) -> None:
    """A unix socket's path always fits into what the kernel takes."""
    assert socket_path(Path("/run/demo")) == Path("/run/demo/collector.sock")
    deep = socket_path(tmp_path / ("x" * 120))
    assert len(os.fsencode(deep)) <= 107
    deep.parent.rmdir()


def test_a_folder_that_is_no_folder_is_named(tmp_path: Path) -> None:
    """A demo that can't write its folder says which, and what to do."""
    taken = tmp_path / "file"
    taken.touch()
    with pytest.raises(DemoError, match="--dir"), only_one(taken):
        pass


_IN_A_ROOM = """
import subprocess, sys
from sonde_lab.demo import namespace
try:
    room = namespace.create()
except namespace.NamespaceError as error:
    sys.exit(f"none: {error}")
script = '''
import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
s.settimeout(5)
s.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 1), ("127.1.0.1", 0))
print(s.recv(100)[0])
'''
sys.exit(subprocess.run([sys.executable, "-c", script], preexec_fn=room.enter).returncode)
"""


def test_an_ordinary_user_may_ping_in_his_namespace() -> None:
    """In a namespace that namespace.create made, a ping socket opens and loopback answers."""
    # A process of its own: in this one gRPC may have threads, which it brings along into every child.
    done = subprocess.run([sys.executable, "-c", _IN_A_ROOM], capture_output=True, text=True, check=False)
    if done.stderr.startswith("none: "):
        pytest.skip(f"no user namespaces for this user: {done.stderr.strip()}")
    assert done.stdout.strip() == "0", done.stderr
