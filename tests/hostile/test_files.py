"""A collector in foreign hands names files and programs."""

import os

import pytest
from support import hostile_stage
from support.hostile_stage import PORT, SECRET, WORLD, Stage

from sonde_proto.v1 import control_pb2
from sonde_proto.v1 import results_pb2 as pb

_LACK = hostile_stage.missing()
pytestmark = [
    pytest.mark.root,
    pytest.mark.xdist_group("hostile"),
    pytest.mark.skipif(_LACK is not None, reason=f"a network of its own: {_LACK}"),
]


def paths(stage: Stage) -> list[str]:
    """The canary and other files that are not the collector's, in every spelling."""
    canary = str(stage.canary.path)
    return [
        canary,
        f"{stage.files}/../canary",
        f"{stage.files}/./../canary",
        f"/{canary}",
        f"file://{canary}",
        "../canary",
        "canary",
        f"{stage.files}-elsewhere/x",
        f"{stage.files}/\0/../../canary",
        "/proc/self/environ",
        "/proc/self/root" + canary,
        "/dev/zero",
        "/dev/stdin",
        str(stage.folder / "pipe"),
        "~/canary",
        "-",
        "a" * 5000,
    ]


def naming(path: str) -> list[control_pb2.Task]:
    """Every field that names a file."""
    url = f"https://{WORLD}:{PORT}/"
    endpoint = [
        control_pb2.EndpointSpec(
            kind=pb.ENDPOINT_KIND_HTTP, url=f"http://{WORLD}:{PORT}/", header_files={"X-Key": path}
        ),
        control_pb2.EndpointSpec(kind=pb.ENDPOINT_KIND_HTTP, url=url, ca_file=path),
        control_pb2.EndpointSpec(kind=pb.ENDPOINT_KIND_HTTP, url=url, client_cert_file=path),
        control_pb2.EndpointSpec(kind=pb.ENDPOINT_KIND_TLS, url=f"{WORLD}:{PORT}", client_key_file=path),
    ]
    tasks = [control_pb2.Task(endpoint=spec) for spec in endpoint]
    tasks += [control_pb2.Task(throughput=control_pb2.ThroughputSpec(url=url, ca_file=path, max_bytes=1000))]
    for protocol in ("WireGuard", "OpenVPN-UDP", "IKEv2"):
        for handshake_only in (False, True):
            spec = control_pb2.ConnectionSpec(
                protocol=protocol, credential="lab", profile=path, handshake_only=handshake_only
            )
            tasks.append(control_pb2.Task(connection=spec))
            tasks.append(
                control_pb2.Task(connection=control_pb2.ConnectionSpec(credential=path, profile="link.conf"))
            )
    rule = control_pb2.UnlockRule(slug=path, version=path)
    tasks.append(control_pb2.Task(unlock=control_pb2.UnlockSpec(rules=[rule])))
    return tasks


def test_no_file_is_opened_and_no_program_runs(stage: Stage) -> None:
    """Nothing outside `policy.files` is opened by any field, link or `..`; what is in it is; nothing runs."""
    os.mkfifo(stage.folder / "pipe")
    (stage.folder / "pipe").chmod(0o666)
    tasks = [task for path in (*paths(stage), "link.conf", "") for task in naming(path)]
    allowed = control_pb2.EndpointSpec(
        kind=pb.ENDPOINT_KIND_HTTP,
        url=f"http://{WORLD}:{PORT}/honest",
        header_files={"X-Key": f"{stage.files}/header"},
    )
    tasks.append(control_pb2.Task(endpoint=allowed))
    for number, task in enumerate(tasks):
        task.key, task.target, task.interval_ms, task.timeout_ms = f"f{number}", "files", 3000, 2500
    state = stage.measure(*tasks, slots=4)
    stage.is_well()
    assert not _has_reader(stage.folder / "pipe")
    assert any("policy.files holds no directory of" in one.reason for one in state.refused)
    assert any("X-Key: allowed" in asked for asked in stage.sink.asked if asked.startswith("/honest"))
    assert SECRET not in stage.log.read_text()


def _has_reader(pipe: os.PathLike[str]) -> bool:
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:  # ENXIO: nobody has it open to read
        return False
    return True


OPTIONS = ["--version", "-oProxyCommand=id", "--logfile=/tmp/x", "-c/etc/passwd", "$(id)", "a b", "x\ny"]


def test_no_word_becomes_an_option_of_a_program(stage: Stage) -> None:
    """What looks like an option, a shell's word or two lines starts nothing, wherever it stands."""
    tasks = []
    for word in OPTIONS:
        for engine in (pb.ENGINE_IPERF3, pb.ENGINE_SPEEDTEST):
            spec = control_pb2.ThroughputSpec(engine=engine, server=word, url=word, max_bytes=1000)
            tasks.append(control_pb2.Task(throughput=spec))
        headers = control_pb2.EndpointSpec(
            kind=pb.ENDPOINT_KIND_HTTP,
            url=f"http://{WORLD}:{PORT}/{word}",
            method=word,
            host=word,
            sni=word,
            header_files={word: f"{stage.files}/header"},
        )
        tasks.append(control_pb2.Task(endpoint=headers))
        dns = control_pb2.EndpointSpec(kind=pb.ENDPOINT_KIND_DNS, url=word, dns_type=word, dns_server=WORLD)
        tasks.append(control_pb2.Task(endpoint=dns))
    tasks.append(
        control_pb2.Task(
            throughput=control_pb2.ThroughputSpec(engine=pb.ENGINE_SPEEDTEST, download=True, max_bytes=1000)
        )
    )
    for number, task in enumerate(tasks):
        task.key, task.target, task.interval_ms, task.timeout_ms = f"o{number}", "options", 3000, 2500
    state = stage.measure(*tasks, slots=4)
    stage.is_well()
    assert any('policy.engines does not hold "speedtest"' in one.reason for one in state.refused)
