"""The command `sonde-agent`, as its user meets it."""

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from sonde_agent import VERSION
from sonde_agent.cli import main
from sonde_agent.export import COLUMNS
from sonde_agent.spool import Spool
from sonde_proto.quality import Quality
from sonde_proto.v1 import results_pb2


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration whose spool holds two results."""
    path = tmp_path / "agent.toml"
    path.write_text('collector = "127.0.0.1:1"\nvantage = "v"\nstate_dir = "state"\nmetrics = ""\n')
    spool = Spool.open(
        tmp_path / "state" / "spool.sqlite",
        max_bytes=10_000_000,
        max_age_s=1e9,
        history_s=1e6,
        now=lambda: 1.8e9,
    )
    ping = results_pb2.Result(measured_at_us=1_799_999_000_000_000, target="nord-1")
    ping.performance.ping_ms = 12.5
    ping.performance.connection_success = True
    ping.performance.quality = Quality.SUCCESS_BY_PING | Quality.RAW_SOCKET
    web = results_pb2.Result(measured_at_us=1_799_999_001_500_000, target="web")
    web.endpoint.failure = results_pb2.FAILURE_NO_ADDRESS
    web.endpoint.kind = results_pb2.ENDPOINT_KIND_HTTP
    web.endpoint.mismatch = 'a "quoted", word'
    spool.append([ping, web])
    spool.close()
    return path


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    """--version tells what is installed; the constant and the package's metadata agree."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"sonde-agent {VERSION}\n"
    assert metadata.version("sonde-agent") == VERSION


@pytest.mark.parametrize("command", ["run", "check", "spool", "doctor", "export"])
def test_every_command_shows_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help ends with lines that can be typed."""
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"  sonde-agent {command}" in capsys.readouterr().out


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["export"], ["run", "--nonsense"]])
def test_bad_usage_is_two(argv: list[str]) -> None:
    """What can't be understood ends with 2, by argparse's own words."""
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


def test_a_bad_configuration_is_two_with_a_line_for_each_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service does not start, and every mistake is on a line of its own, with file and key."""
    path = tmp_path / "agent.toml"
    path.write_text('vantage = 5\nstate_dir = "s"\n')
    assert main(["run", "--config", str(path)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"sonde-agent: {path}: collector: is required",
        f"sonde-agent: {path}: vantage: must be a string, not 5",
    ]


def test_check_config_tells_mistakes_and_runs_nothing(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 and one line where there are none; 2 and each mistake where there are."""
    assert main(["run", "--check-config", "--config", str(config)]) == 0
    assert capsys.readouterr().out == f"{config}: no mistake\n"
    config.write_text('collector = "192.0.2.1:1"\nvantage = "v"\n')
    assert main(["run", "--check-config", "--config", str(config)]) == 2
    assert "plain text never leaves it" in capsys.readouterr().err


def test_spool_says_what_waits(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For a person in lines, for a program in JSON; both of what is on the disk."""
    assert main(["spool", "--config", str(config)]) == 0
    assert "waiting      2 results" in capsys.readouterr().out
    assert main(["spool", "--config", str(config), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["gaps"], told["quarantined"], told["last_ack_us"]) == (2, 0, 0, None)
    assert told["oldest_us"] == 1_799_999_000_000_000
    (stream,) = told["streams"]
    assert (stream["acked_seq"], stream["highest_seq"], stream["current"]) == (0, 2, True)


def test_spool_without_a_spool_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A state directory where no agent ran is told as such."""
    path = tmp_path / "agent.toml"
    path.write_text('collector = "127.0.0.1:1"\nvantage = "v"\nstate_dir = "state"\n')
    assert main(["spool", "--config", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no spool" in line


def test_a_new_stream_begins_beside_the_old(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The operator's way out of a copied spool: another epoch takes what comes."""
    assert main(["spool", "--config", str(config), "--new-stream", "--json"]) == 0
    streams = json.loads(capsys.readouterr().out)["streams"]
    assert streams[-1]["current"]
    assert streams[-1]["highest_seq"] == 0


def test_a_spool_in_use_is_one_line(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While an agent runs, a new stream is refused in words; looking is not."""
    spool = Spool.open(
        config.parent / "state" / "spool.sqlite", max_bytes=10_000_000, max_age_s=1e9, history_s=1e6
    )
    try:
        assert main(["spool", "--config", str(config), "--new-stream"]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1
        assert main(["spool", "--config", str(config)]) == 0
    finally:
        spool.close()


def test_export_to_csv_and_json_lines(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every result is a row, NULL is empty, times are UTC, enumerations are words."""
    assert main(["export", "--config", str(config), "--to", str(tmp_path / "h.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(tmp_path / "h.csv"), "rows": 2}
    head, first, second = (tmp_path / "h.csv").read_text().splitlines()
    assert head.split(",") == list(COLUMNS)
    assert ",1,false,,2027-01-15 07:43:20.000000+00:00,nord-1,performance,12.5," in first
    assert '"a ""quoted"", word"' in second
    assert main(["export", "--config", str(config), "--to", str(tmp_path / "h.jsonl")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert rows[1]["failure"] == "no_address"
    assert rows[1]["kind"] == "http"
    assert "ping_ms" not in rows[1]
    assert rows[0]["connection_success"] is True
    assert rows[0]["quality"] == "success_by_ping,raw_socket"


def test_export_to_parquet(config: Path, tmp_path: Path) -> None:
    """The Parquet file has the types and values of the CSV."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    assert main(["export", "--config", str(config), "--to", str(tmp_path / "h.parquet")]) == 0
    table = parquet.read_table(tmp_path / "h.parquet")
    assert table.column_names == list(COLUMNS)
    assert table["target"].to_pylist() == ["nord-1", "web"]
    assert table["ping_ms"].to_pylist() == [12.5, None]
    assert table["failure"].to_pylist() == [None, "no_address"]


def test_export_to_duckdb(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With duckdb installed the file is a database of one table; without, one line says what to install."""
    to = tmp_path / "h.duckdb"
    code = main(["export", "--config", str(config), "--to", str(to)])
    try:
        import duckdb  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 -- it may be missing
    except ImportError:
        assert code == 1
        assert "needs the duckdb package: install it" in capsys.readouterr().err
        return
    with duckdb.connect(str(to)) as db:
        assert db.execute("SELECT target, ping_ms, failure, acked FROM results ORDER BY seq").fetchall() == [
            ("nord-1", 12.5, None, False),
            ("web", None, "no_address", False),
        ]


def test_export_refuses_what_it_does_not_know(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown ending, a directory that is not there and a bad time are one line each."""
    assert main(["export", "--config", str(config), "--to", str(tmp_path / "h.xlsx")]) == 1
    assert main(["export", "--config", str(config), "--to", str(tmp_path / "gone" / "h.csv")]) == 1
    assert main(["export", "--config", str(config), "--to", str(tmp_path / "h.csv"), "--since", "soon"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 3


def test_doctor_names_a_bad_configuration_and_looks_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake in the file is a finding like the others, and the exit code says that something lacks."""
    path = tmp_path / "agent.toml"
    path.write_text("vantage = 5\n")
    assert main(["doctor", "--config", str(path), "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert "vantage: must be a string" in json.dumps(findings)
    assert "kernel timestamps" in {finding["name"] for finding in findings}


def test_no_traceback_reaches_a_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A defect of ours is two lines with its place; $SONDE_DEBUG=1 raises it."""
    monkeypatch.setattr("sonde_agent.config.find", lambda _: 1 / 0)
    assert main(["run"]) == 1
    told = capsys.readouterr().err
    assert "ZeroDivisionError" in told
    assert "test_cli_agent.py" in told
    assert "Traceback" not in told
    monkeypatch.setenv("SONDE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["run"])


def test_check_starts_without_the_uplink() -> None:
    """Measuring by hand does not pay for gRPC."""
    code = (
        "import sys; from sonde_agent.cli import _parser; _parser(wants_check=True); "
        "print('grpc' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
