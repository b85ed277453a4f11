"""Hostile profiles, by hand and through the helper: nothing in them is executed or opened."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.boxes import events, ping
from support.programs import BIN
from support.residue import descendants
from support.vantage import WAYS, Vantage, Way, opened
from support.watched_file import WatchedFile

from sonde_agent.tunnel import namespaces
from sonde_lab.lab import Lab
from sonde_proto.v1 import results_pb2 as pb

pytestmark = [pytest.mark.root, pytest.mark.xdist_group("lab")]

WIREGUARD = (
    "PostUp = {file}",
    "PostUp = iptables -A OUTPUT -j ACCEPT; {file}",
    "PreDown = {file}",
    "SaveConfig = true",
    "Include = {file}",
    "Address = $({file})/32",
    "DNS = `{file}`",
    "MTU = 1420; {file}",
    "PreUp = {file}",
    "PostDown = {file}",
    "postup={file}",
    "PrivateKey = {file}",
)
OPENVPN = (
    "up {file}",
    "--up {file}",
    "plugin {file} x",
    "script-security 2",
    "ca {file}",
    "cert ../{name}",
    "auth-user-pass {file}",
    "<up>\n{file}\n</up>",
    "down {file}",
    '"up" "{file}"',
    "\tup\t{file}",
    "u\\p {file}",
    "up-restart",
    "script-security 3 system",
    "route-up {file}",
    "route-pre-down {file}",
    "ipchange {file}",
    "tls-verify {file}",
    "auth-user-pass-verify {file} via-env",
    "client-connect {file}",
    "learn-address {file}",
    "iproute {file}",
    "providers {file}",
    "engine {file}",
    "pkcs11-providers {file}",
    "setenv-safe UP {file}",
    "config {file}",
    "cd {folder}",
    "chroot {folder}",
    "key {file}",
    "pkcs12 {file}",
    "tls-auth {file} 1",
    "tls-crypt {file}",
    "crl-verify {file}",
    "capath {folder}",
    "secret {file}",
    "askpass {file}",
    "management {file} unix",
    "log {file}",
    "log-append {file}",
    "status {file}",
    "writepid {file}",
    "replay-persist {file}",
    "dev-node {file}",
    "http-proxy 127.0.0.1 3128 {file}",
    "socks-proxy 127.0.0.1 1080 {file}",
    "tmp-dir {folder}",
    "<connection>\nremote 192.0.2.13 1194\nup {file}\n</connection>",
    "cipher AES-256-GCM\x0bup {file}",
    "remote 192.0.2.13 1194 udp {file}",
    "remote $({file}) 1194",
)
IKE = (
    '"p12": "{file}",',
    '"updown": "{file}",',
    '"local": {{"p12": "{file}"}},',
    '"local": {{"cert": "file://{file}"}},',
    '"local": {{"eap_id": "me\\n  updown = {file}"}},',
    '"dns-servers": "{file}",',
    '"include": "{file}",',
    '"mtu": "{file}",',
)
BY_HAND = 4  # of each protocol: a program that starts anew for each file takes its time
IGNORED = {"WireGuard": ("[Peer]", "Table = {file}"), "OpenVPN-UDP": ("verb 3", "setenv LD_PRELOAD {file}")}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedFile]:
    """What the profiles want to have opened or run."""
    with WatchedFile(tmp_path_factory.mktemp("bait") / "bait") as file:
        yield file


@pytest.fixture(scope="module")
def profiles(lab: Lab, watched: WatchedFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of hostile profiles: each is the lab's own, with one line more. Named by what they try."""
    folder = tmp_path_factory.mktemp("hostile")
    words = {"file": watched.path, "name": watched.path.name, "folder": watched.path.parent}
    for protocol, lines, mark in (
        ("WireGuard", WIREGUARD, "[Peer]\n"),
        ("OpenVPN-UDP", OPENVPN, "client\n"),
        ("IKEv2", IKE, '  "type"'),
    ):
        good = original(lab, WAYS[protocol])
        assert mark in good
        for number, line in enumerate(lines):
            added = line.format(**words) + "\n"
            bad = good.replace(mark, mark + added if protocol == "OpenVPN-UDP" else added + mark, 1)
            (folder / f"{number}{suffix(protocol)}").write_text(bad)
    (folder / "million.ovpn").write_text(original(lab, WAYS["OpenVPN-UDP"]) + "up x\n" * 10**6)
    (folder / "lines.ovpn").write_text(
        original(lab, WAYS["OpenVPN-UDP"]) + "#\n" * 400_000 + f"up {watched.path}\n"
    )
    (folder / "comments.conf").write_text(original(lab, WAYS["WireGuard"]) + "#" * 2**21)
    (folder / "deep.sswan").write_text("[" * 10**6)
    (folder / "nul.conf").write_bytes(original(lab, WAYS["WireGuard"]).encode() + b"\0PostUp = x\n")
    (folder / "latin.ovpn").write_bytes(original(lab, WAYS["OpenVPN-UDP"]).encode() + b"# caf\xe9\n")
    (folder / "folder.conf").mkdir()
    os.mkfifo(folder / "pipe.conf")
    return folder


def original(lab: Lab, way: Way) -> str:
    """The lab's own file, which connects."""
    return (lab.profiles / way.credential / way.profile).read_text()


def suffix(protocol: str) -> str:
    """Of a protocol's files."""
    return Path(WAYS[protocol].profile).suffix


def by_hand(lab: Lab, file: Path) -> subprocess.CompletedProcess[str]:
    """`sonde-agent check vpn FILE`, as a person at the vantage types it."""
    secrets = [f"--{part}-file={lab.folder}/secrets/lab.{part}" for part in ("username", "password")]
    agent = [sys.executable, str(BIN / "sonde-agent")]
    return lab.run("ams", [*agent, "check", "vpn", str(file), *secrets])


def test_check_vpn_refuses_hostile_profiles_by_one_line(
    lab: Lab, profiles: Path, watched: WatchedFile
) -> None:
    """By hand, a hostile profile gets one clear line that names it, and nothing it names is opened or run."""
    files = [
        file for file in sorted(profiles.iterdir()) if not file.stem.isdigit() or int(file.stem) < BY_HAND
    ]
    with ThreadPoolExecutor(2) as pool:
        for file, done in zip(files, pool.map(lambda file: by_hand(lab, file), files), strict=True):
            said = done.stderr.splitlines()
            assert (done.returncode, done.stdout) == (2, ""), f"{file.name}: {done}"
            assert file.name in said[0], f"{file.name}: {said}"
            assert len(said) <= (22 if file.name == "million.ovpn" else 1), f"{file.name}: {said[:3]}"
            assert len(said[0]) < 300, said
    assert not watched.touched()


def test_the_helper_refuses_hostile_profiles_by_one_line(
    lab: Lab, profiles: Path, watched: WatchedFile
) -> None:
    """The helper refuses the same files as our side's fault, with one line each, and opens nothing either."""
    way = {".conf": WAYS["WireGuard"], ".ovpn": WAYS["OpenVPN-UDP"], ".sswan": WAYS["IKEv2"]}
    with Vantage(lab, profiles=profiles) as vantage:
        for file in sorted(profiles.iterdir()):
            request = opened(way[file.suffix])
            request.profile = file.name
            (event,) = vantage.ask(request)
            assert event.ended.failure == pb.FAILURE_PROFILE, f"{file.name}: {event}"
            assert file.name in event.ended.detail, event
            assert "\n" not in event.ended.detail
    assert not watched.touched()


@pytest.mark.parametrize("protocol", IGNORED)
def test_what_is_ignored_does_nothing(lab: Lab, watched: WatchedFile, tmp_path: Path, protocol: str) -> None:
    """Lines of providers that mean nothing here stop no tunnel, and what they name is not opened."""
    way, (mark, line) = WAYS[protocol], IGNORED[protocol]
    text = original(lab, way).replace(mark, f"{line.format(file=watched.path)}\n{mark}", 1)
    assert str(watched.path) in text
    (tmp_path / way.profile).write_text(text)
    with Vantage(lab, profiles=tmp_path) as vantage:
        ended = vantage.ask(opened(way))[-1].ended
    assert ended.failure == pb.FAILURE_NONE, ended
    assert not watched.touched()


@pytest.mark.parametrize("protocol", ["WireGuard", "OpenVPN-UDP", "OpenVPN-TCP", "IKEv2"])
def test_a_box_of_every_protocol_is_fenced(lab: Lab, protocol: str) -> None:
    """Even root in a box's network reaches none that the policy denies, by whatever protocol it came up."""
    with Vantage(lab) as vantage, vantage.connect(opened(WAYS[protocol], ping(count=1000))) as connection:
        assert "task" in (event.WhichOneof("event") for event in events(connection))
        (checks,) = [pid for pid, argv in descendants(vantage.helper).items() if argv[-1:] == ["box"]]
        with Path(f"/proc/{checks}/ns/net").open() as file, namespaces.inside(file.fileno()):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            assert sock.sendto(b"x", ("203.0.113.3", 9)) == 1
            for denied in ("10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"):
                with pytest.raises(PermissionError):
                    sock.sendto(b"x", (denied, 9))


def test_the_bait_is_noticed_when_it_is_taken(tmp_path: Path) -> None:
    """The watch sees a file that is read, and one that runs."""
    with WatchedFile(tmp_path / "bait") as file:
        assert not file.touched()
        file.path.read_bytes()
        assert file.touched()
        assert not file.touched()
        subprocess.run([file.path], check=True)
        assert file.touched()
