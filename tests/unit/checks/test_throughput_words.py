"""What is typed after `sonde-agent check throughput`."""

import pytest

from sonde_agent.checks.byhand import parse
from sonde_agent.checks.byhand_words import UsageError
from sonde_proto.v1 import results_pb2 as pb

URL = "http://192.0.2.7/1g"


def test_defaults() -> None:
    """A URL alone is a download of 8 s over 4 streams and at most 1 GB."""
    task = parse("throughput", [URL])
    spec = task.throughput
    assert (spec.engine, spec.url, spec.download, spec.upload) == (pb.ENGINE_HTTP, URL, True, False)
    assert (spec.seconds, spec.streams, spec.max_bytes, spec.ramp_ms) == (8, 4, 10**9, 1500)
    assert task.timeout_ms > 20_000


def test_both_directions_by_iperf3() -> None:
    """An iperf3 server is measured both ways, for which the run has twice the time."""
    task = parse("throughput", ["192.0.2.7:5202", "--engine", "iperf3", "--seconds", "3s"])
    spec = task.throughput
    assert (spec.server, spec.url, spec.download, spec.upload, spec.seconds) == (
        "192.0.2.7:5202",
        "",
        True,
        True,
        3,
    )
    assert task.timeout_ms > 50_000


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (["ftp://192.0.2.7/"], "http"),
        ([URL, "--streams", "0"], "--streams"),
        ([URL, "--seconds", "1h"], "--seconds"),
        ([URL, "--rate-cap", "-1"], "--rate-cap"),
        ([URL, "--max-bytes", "0B"], "--max-bytes"),
        ([URL, "--no-download"], "--upload-url"),
        ([URL, "--engine", "ndt7", "--upload-url", URL], "--upload-url"),
        (["http://user:secret@192.0.2.7/"], "password"),
        (["192.0.2.7:99999", "--engine", "iperf3"], "port"),
        ([URL, "--ca", "missing.pem"], "--ca"),
    ],
)
def test_mistakes(argv: list[str], word: str) -> None:
    """Each mistake is one line that names what is wrong."""
    with pytest.raises(UsageError, match=word) as caught:
        parse("throughput", argv)
    assert "\n" not in str(caught.value)
