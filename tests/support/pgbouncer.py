"""A real PgBouncer in front of a test server."""

import grp
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.postgres import Server, free_port

ORDINARY = "nobody"


@pytest.fixture(params=["transaction", "session"])
def pgbouncer(request: pytest.FixtureRequest, tmp_path: Path, postgres_server: Server) -> Iterator[int]:
    """The port of a PgBouncer in that pool mode; skips where the program can't be had."""
    program = _program()
    port = free_port()
    users = tmp_path / "users.txt"
    users.write_text('"postgres" ""\n')
    conf = tmp_path / "pgbouncer.ini"
    conf.write_text(
        f"[databases]\n* = host=127.0.0.1 port={postgres_server.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {users}\npool_mode = "
        f"{request.param}\n"
        "admin_users = postgres\n"
    )
    command = [program, str(conf)]
    if os.geteuid() == 0:  # it refuses root
        for path in (tmp_path, *tmp_path.parents):
            if path.stat().st_uid == 0 and len(path.parts) > 2:
                path.chmod(0o755)
        command = ["setpriv", f"--reuid={ORDINARY}", f"--regid={_group()}", "--clear-groups", "--", *command]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 20
        while True:
            assert process.poll() is None, "PgBouncer ended at start"
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "PgBouncer does not listen"
                time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _group() -> str:
    return grp.getgrgid(pwd.getpwnam(ORDINARY).pw_gid).gr_name


def _program() -> str:
    found = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip("needs PgBouncer (Debian package pgbouncer)")
    return found
