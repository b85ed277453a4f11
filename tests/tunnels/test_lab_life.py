"""The life of a lab: up, down, killed, several at once, without root; the host never notices."""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import residue
from support.programs import eventually, run

import sonde_lab
import sonde_rules
import sonde_unlock
from sonde_lab.lab import Lab, missing_programs
from sonde_lab.programs import LabError

pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("lab-life"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(bool(missing_programs()), reason=f"needs {', '.join(missing_programs())}"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path that other users may enter."""
    path = Path(tempfile.mkdtemp(prefix="sonde-life-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def host() -> str:
    """What the host has of networks, rules, links, mounts and names of namespaces."""
    commands = "ip -br link; ip route show table all; ip -6 route show table all; ip rule; ip netns"
    commands += "; cat /proc/self/mounts"
    said = subprocess.run(["sh", "-c", commands], capture_output=True, text=True, check=True).stdout
    # Other tests of this machine have links of their own; those of a lab have these names.
    return "\n".join(
        line
        for line in said.splitlines()
        if any(word in line for word in ("dl-", "v-ams", "wan", "wg-se", "default"))
    )


def inside(pid: int) -> list[int]:
    """The processes in the PID namespace of process `pid`, while that lives."""
    space = str(Path(f"/proc/{pid}/ns/pid").readlink())
    return [process for process, theirs in spaces() if theirs == space]


def spaces() -> Iterator[tuple[int, str]]:
    """Every process but zombies and its PID namespace."""
    for process, _ in residue.processes():
        try:
            yield process, str(Path(f"/proc/{process}/ns/pid").readlink())
        except OSError:
            continue


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_labs_first_process_takes_all_with_it(folder: Path, number: int) -> None:
    """SIGKILL or SIGTERM of the first process ends every other, and the host's networks are as before."""
    before = host()
    lab = Lab.up(folder)
    assert len(inside(lab.pid)) > 15
    space = str(Path(f"/proc/{lab.pid}/ns/pid").readlink())
    assert host() == before
    os.kill(lab.pid, number)
    eventually(lambda: all(theirs != space for _, theirs in spaces()), 10, "processes are left")
    assert host() == before
    assert Lab.find(folder) is None
    lab.down()
    assert [path.name for path in folder.iterdir()] == ["logs"]


def test_a_lab_ends_with_the_process_that_started_it(folder: Path) -> None:
    """When the process that started a lab is killed, the lab ends; a next one comes up in the same folder."""
    code = "import sys,time;from pathlib import Path;from sonde_lab.lab import Lab\n"
    code += "print(Lab.up(Path(sys.argv[1]),faults=False).pid,flush=True);time.sleep(99)"
    owner = subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert Lab.find(folder) is not None
    owner.kill()
    owner.wait()
    owner.stdout.close()
    eventually(lambda: pid not in dict(residue.processes()), 5, "the lab is still there")
    with Lab.up(folder, faults=False) as lab:
        assert lab.run("ams", ["ping", "-c", "1", "-W", "2", "192.0.2.13"]).returncode == 0


def test_the_command_line(folder: Path) -> None:
    """`up` returns when all serve, a second is told, `exec` and `truth` work, `down` is idempotent."""
    where = ("--dir", str(folder))
    assert "no lab is up" in run("sonde-lab", "truth", *where).stderr
    up = run("sonde-lab", "up", *where, "--vantages", "3", "--no-faults")
    assert up.returncode == 0, up.stderr
    try:
        again = run("sonde-lab", "up", *where)
        assert (again.returncode, "already" in again.stderr) == (1, True)
        assert run("sonde-lab", "exec", *where, "fra", "--", "sh", "-c", "exit 7").returncode == 7
        assert run("sonde-lab", "exec", *where, "nyc", "--", "no-such-program").returncode == 127
        assert 'no namespace "mars"' in run("sonde-lab", "exec", *where, "mars", "--", "true").stderr
        table = run("sonde-lab", "truth", *where).stdout
        assert "ike-us" in table
        assert "fra ms" in table
        assert '"exit_address": "203.0.113.101"' in run("sonde-lab", "truth", "--json", *where).stdout
    finally:
        assert run("sonde-lab", "down", *where).stdout == "down\n"
    assert run("sonde-lab", "down", *where).returncode == 0


def test_programs_at_a_vantage_die_with_their_launcher(folder: Path) -> None:
    """SIGTERM reaches the program, and SIGKILL of what `popen` gave kills it too."""
    with Lab.up(folder, vantages=1, faults=False) as lab:
        known = set(inside(lab.pid))

        def alone() -> bool:
            return set(inside(lab.pid)) <= known

        trap = lab.popen(
            "ams", ["sh", "-c", "trap 'exit 9' TERM; echo; while :; do sleep 0.1; done"], stdout=-1
        )
        trap.stdout.readline()
        trap.terminate()
        assert trap.wait(5) == 9
        trap.stdout.close()
        sleeper = lab.popen("ams", ["sleep", "99"])
        eventually(lambda: not alone(), 5, "it did not start")
        sleeper.kill()
        sleeper.wait(5)
        eventually(alone, 2, "it lives on")


def test_two_labs_do_not_meet(folder: Path) -> None:
    """Two labs at once have the same addresses and know nothing of each other."""
    one_folder, other_folder = folder / "one", folder / "other"
    with Lab.up(one_folder, faults=False) as one, Lab.up(other_folder, faults=False) as other:
        with pytest.raises(LabError, match="already"):
            Lab.up(one_folder)
        one.run("ams", ["ping", "-c", "3", "-i", "0.2", "192.0.2.13"])
        seen = [lab.truth()["servers"][2]["echoes"]["direct"] for lab in (one, other)]
    assert seen == [{"198.51.100.11": {"seen": 3, "lost": 0}}, {}]


def test_without_a_compiler_the_delay_line_is_python(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no C compiler is, delays are made and recorded in Python, and accounts are asked in a script."""
    tools = folder / "tools"
    tools.mkdir()
    needed = "ip nft tc nsenter wg wireguard-go openvpn charon-systemd nginx iperf3 dnsmasq sh date ping"
    for name in needed.split():
        (tools / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tools))
    began = time.time()
    with Lab.up(folder / "lab", faults=False) as lab:
        said = lab.run("ams", ["ping", "-c", "20", "-i", "0.05", "-q", "192.0.2.13"])
        assert "20 received" in said.stdout, said
        truth = lab.truth(began)["servers"][2]
    way = truth["line"]["ams"]["up"]
    assert way["packets"] >= 20
    assert truth["rtt_ms"]["ams"] / 2 <= way["p50_ms"] < truth["rtt_ms"]["ams"]


def test_an_ordinary_user_has_a_lab_too(folder: Path) -> None:
    """Without root, a lab comes up in a user namespace, with all its servers."""
    python = shutil.which("python3", path="/usr/bin")
    if python is None or sysconfig.get_python_version() not in os.path.realpath(python):
        pytest.skip(f"needs /usr/bin/python3 of version {sysconfig.get_python_version()}, open to every user")
    shutil.chown(folder, 65534, 65534)
    ours = (sonde_lab, sonde_rules, sonde_unlock)
    packages = [*(str(Path(one.__file__).parents[1]) for one in ours), sysconfig.get_path("purelib")]
    code = """
import sys
from pathlib import Path
from sonde_lab.lab import Lab
with Lab.up(Path(sys.argv[1])) as lab:
    print(lab.run("ams", ["sh", "-c", "id -u; curl -s -m 5 http://origin.example/ip"]).stdout)
"""
    done = subprocess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-c", code, folder / "lab"],
        env={**os.environ, "PYTHONPATH": ":".join(packages), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=folder,
    )
    if "lets no lab be made" in done.stderr:
        pytest.skip("needs user namespaces for ordinary users")
    assert done.stdout.split() == ["0", "2001:db8:1::11"], done.stderr
